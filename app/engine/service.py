"""What one server process holds: its gallery, its scheduler, and whether it is ready."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from ..errors import (
    BadOutput,
    DeviceUnavailable,
    ModelFolderError,
    NotReady,
    OutOfMemory,
    PasticheError,
)
from ..metrics import Metrics
from ..options import Options, answer_format
from ..pixels.canvas import Finish, canvas_size, check_canvas, finished
from ..pixels.container import Still
from ..pixels.images import Pixels, check_format, encode, read_header, read_pixels, resize
from ..settings import Settings
from .device import Device, pick_device
from .gallery import Brush, Gallery
from .probe import Probe
from .scheduler import Painted, Scheduler
from .watch import Fingerprint, changes, fingerprints

log = logging.getLogger(__name__)

Status = Literal["loading", "ready", "draining", "unavailable"]
T = TypeVar("T")

# Bytes: to walk so small a file costs less than a thread's way there and back, which all that is
# refused would have to go.
SMALL_FILE = 2**16

MEMORY_FAILURES = 3  # pictures in a row for which there was no memory: the server is not ready


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
        self.reason: str | None = None  # why it is unavailable, as a caller may know it
        self.scheduler = Scheduler(
            settings.queue_pixels, settings.batch_pixels, metrics, settings.deadline_seconds
        )
        # Few: on a CPU they take from the inference, and each holds a decoded picture.
        self._coders = ThreadPoolExecutor(max(2, (os.cpu_count() or 1) // 2), "coder")
        self._memory_failures = 0  # in a row
        self._probe = Probe()
        self._gallery: Gallery | None = None
        self._following: asyncio.Task[None] | None = None

    @property
    def gallery(self) -> Gallery:
        """The gallery of this moment. Raises NotReady before there is one."""
        if self._gallery is None:
            raise NotReady(f"the server is {self.status}", retry_after=2)
        return self._gallery

    async def load(self) -> None:
        """Load the networks, and follow the changes of their folders from then on.

        On failure says why in the log and in `reason`, and stays unready.
        """
        settings = self.settings
        try:
            seen = await asyncio.to_thread(fingerprints, settings.models)
            device = await asyncio.to_thread(
                pick_device, settings.device, settings.threads, settings.gpu_memory
            )
        except Exception as error:
            self._fail(error)
            return
        self.scheduler.bound_batches(settings.batch_pixels or device.batch_pixels)
        await self._open(device)
        if settings.reload_seconds:
            following = self._follow(device, seen)
            self._following = asyncio.create_task(following, name="reloading")

    async def _follow(self, device: Device, seen: Mapping[Path, Fingerprint]) -> None:
        settings = self.settings
        async for _ in changes(settings.models, settings.reload_seconds, seen):
            whole = await self._open(device)
            self.metrics.reloads.labels("ok" if whole else "failed").inc()

    async def _open(self, device: Device) -> bool:
        # Whoever paints keeps the network that it began with: only this one reference changes.
        began = time.perf_counter()
        arguments = self.settings.models, device, self.settings.tile_pixels, self._gallery
        try:
            gallery = await asyncio.to_thread(Gallery, *arguments)
        except Exception as error:
            self._fail(error)
            return False
        self._gallery = gallery
        self._become(None)
        log.info(
            "ready after %.1f s on %s: %d styles of %s",
            time.perf_counter() - began,
            device,
            len(gallery),
            ", ".join(network.name for network in gallery.networks),
        )
        return not gallery.new_problems

    def _fail(self, error: Exception) -> None:
        expected = isinstance(error, PasticheError)
        state = "not ready" if self._gallery is None else "serving as before"
        log.error("%s: %s", state, error, exc_info=not expected)
        if self._gallery is not None:
            return
        if isinstance(error, DeviceUnavailable):
            self._become(str(error))
        elif isinstance(error, ModelFolderError):  # its words are file names
            self._become("there is no model folder that can be served")
        else:
            self._become("something went wrong on our side; the log has it")

    def _become(self, reason: str | None) -> None:
        if self.status != "draining":
            self.status, self.reason = "unavailable" if reason else "ready", reason

    async def check(self) -> None:
        """Bring `status` and `reason` up to date by a real inference, see Probe."""
        if self._gallery is None or self.status == "draining":
            return
        before = self.reason
        reason = await self._probe.fault(self._gallery.networks)
        if reason != before:
            log.log(logging.ERROR if reason else logging.INFO, "%s", reason or "ready again")
            self._become(reason)

    async def stop(self) -> None:
        """Refuse what comes, finish what was admitted."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        self.status, self.reason = "draining", None
        self._probe.close()
        await self.scheduler.drain(self.settings.drain_seconds)
        self._coders.shutdown(wait=False, cancel_futures=True)

    async def stylize(self, content: bytes, options: Options, accept: str) -> Answer:
        """Decode, paint and encode an image. Raises what `app.errors` draws."""
        settings = self.settings
        brush = self.gallery.brush(options.style)
        still = await self._header(content)
        size = canvas_size(*still.size, options.size)
        check_canvas(*size, settings.max_pixels)
        format = answer_format(options, accept, still.format)
        check_format(format, *still.size)
        finish = Finish(options.strength, options.size, options.preserve_colors)
        within = None if finish.shows_photo else size
        with self.scheduler.admit(max(still.pixels, size[0] * size[1])) as deadline:
            began = time.perf_counter()
            picture = await self._code(lambda: read_pixels(still, within))
            pixels = await self._code(lambda: resize(picture.rgb, size))
            decoded = time.perf_counter()
            painted = await self._paint(brush, pixels, deadline)
            waited = time.perf_counter()
            quality = options.quality or settings.jpeg_quality
            answer = await self._code(
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

    async def _header(self, content: bytes) -> Still:
        most = self.settings.max_pixels
        if len(content) <= SMALL_FILE:
            return read_header(content, most)
        return await asyncio.to_thread(read_header, content, most)

    async def _code(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._coders, work)

    async def _paint(self, brush: Brush, pixels: Pixels, deadline: float) -> Painted:
        try:
            painted = await self.scheduler.paint(brush, pixels, deadline)
        except BadOutput:
            self.metrics.bad_outputs.inc()
            raise
        except OutOfMemory as error:
            self.metrics.refusals.labels("out_of_memory").inc()
            self._memory_failures += 1
            if self._memory_failures >= MEMORY_FAILURES:
                self._probe.doubt(f"{brush.network.name}: {error}")
            raise
        self._memory_failures = 0
        return painted
