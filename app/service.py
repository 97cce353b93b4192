"""What one server process holds: its gallery, its scheduler, and whether it is ready."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Literal

from app.device import pick_device
from app.errors import DeviceUnavailable, ModelFolderError, NotReady
from app.gallery import Gallery
from app.images import check_format, decode, encode, read_header
from app.metrics import Metrics
from app.options import Options, answer_format
from app.painting import Finish, canvas, canvas_size, check_canvas, finished
from app.scheduler import Scheduler
from app.settings import Settings

log = logging.getLogger(__name__)

Status = Literal["loading", "ready", "draining", "unavailable"]


@dataclass(frozen=True)
class Answer:
    """An encoded pastiche, with what its headers tell."""

    content: bytes
    format: str
    style: str
    seconds: dict[str, float]  # decode, queue, inference, encode


class Service:
    """Create inside a running event loop; `load` makes it ready, `stop` drains it."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.status: Status = "loading"
        self.scheduler = Scheduler(settings.queue_pixels, settings.batch_pixels, metrics)
        self._gallery: Gallery | None = None

    @property
    def gallery(self) -> Gallery:
        """The gallery. Raises NotReady before it is loaded."""
        if self._gallery is None:
            raise NotReady(f"the server is {self.status}", retry_after=2)
        return self._gallery

    async def load(self) -> None:
        """Load and warm up the networks; on failure say why in the log and stay unready."""
        began = time.perf_counter()
        try:
            self._gallery = await asyncio.to_thread(self._open)
        except (DeviceUnavailable, ModelFolderError) as error:
            self.status = "unavailable"
            log.error("not ready: %s", error)
            return
        except Exception:
            self.status = "unavailable"
            log.exception("not ready")
            return
        self.status = "ready"
        log.info(
            "ready after %.1f s on %s: %d styles of %s",
            time.perf_counter() - began,
            self._gallery.device,
            len(self._gallery),
            ", ".join(network.name for network in self._gallery.networks),
        )

    def _open(self) -> Gallery:
        device = pick_device(self.settings.device, self.settings.threads)
        return Gallery(self.settings.models, device, self.settings.tile_pixels)

    async def stop(self) -> None:
        """Refuse what comes, finish what was admitted."""
        self.status = "draining"
        await self.scheduler.drain(self.settings.drain_seconds)

    async def stylize(self, content: bytes, options: Options, accept: str) -> Answer:
        """Decode, paint and encode an image. Raises what `app.errors` draws."""
        settings = self.settings
        brush = self.gallery.brush(options.style)
        header = read_header(content, settings.max_pixels)
        width, height = canvas_size(header.width, header.height, options.size)
        check_canvas(width, height, settings.max_pixels)
        format = answer_format(options, accept, header.format)
        check_format(format, header.width, header.height)
        finish = Finish(options.strength, options.size, options.preserve_colors)
        with self.scheduler.admit(max(header.pixels, width * height)):
            began = time.perf_counter()
            picture = await asyncio.to_thread(decode, content, settings.max_pixels)
            pixels = await asyncio.to_thread(canvas, picture, finish)
            decoded = time.perf_counter()
            painted = await self.scheduler.paint(brush, pixels)
            waited = time.perf_counter()
            quality = options.quality or settings.jpeg_quality
            answer = await asyncio.to_thread(
                lambda: encode(finished(picture, painted.pixels, finish), format, quality)
            )
            encoded = time.perf_counter()
        self.metrics.decode_seconds.observe(decoded - began)
        self.metrics.encode_seconds.observe(encoded - waited)
        self.metrics.styles.labels("_blend" if "," in brush.label else brush.label).inc()
        seconds = {
            "decode": decoded - began,
            "queue": painted.queue_seconds,
            "inference": painted.inference_seconds,
            "encode": encoded - waited,
        }
        return Answer(answer, format, brush.label, seconds)
