"""The work of one request: decode or draw noise, wait in the queue, paint, encode."""

import asyncio
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ..errors import BadOutput, OutOfMemory
from ..metrics import Metrics
from ..model_folder import Vector
from ..options import GenerateOptions, Options, animation_format, answer_format
from ..pixels.animation import (
    Animation,
    check_animation,
    encode_animation,
    key_frame,
    read_animation,
)
from ..pixels.canvas import canvas, canvas_size, check_canvas, drawn_size, finished
from ..pixels.containers import Still
from ..pixels.images import (
    Picture,
    check_format,
    default_answer,
    encode,
    read_header,
    read_pixels,
)
from ..settings import Settings
from .gallery import Brush
from .generator import Generator
from .network import Network
from .probe import Probe
from .recovery import Painter, Source
from .scheduler import Painted, Scheduler
from .steady import SteadyNetwork

T = TypeVar("T")

SMALL_FILE = 2**16  # bytes; walking a smaller file costs less than switching threads

MAX_MEMORY_FAILURES = 3  # requests in a row that ran out of memory before the server is unready


@dataclass(frozen=True)
class EncodedPastiche:
    """An encoded pastiche."""

    content: bytes
    format: str
    style: str  # the style's id, or the blend with its weights
    seconds: dict[str, float]  # by stage: decode, queue, inference, encode


@dataclass(frozen=True)
class EncodedTexture:
    """An encoded texture, and the seed that it was made from."""

    content: bytes
    format: str
    style: str  # the style's id, or the blend with its weights
    seconds: dict[str, float]  # by stage: queue, inference, encode
    seed: int


class Pipeline:
    """Turns an image file into a pastiche, and options into a texture."""

    def __init__(
        self, settings: Settings, metrics: Metrics, scheduler: Scheduler, probe: Probe
    ) -> None:
        """probe: receives a report when requests repeatedly run out of memory."""
        self._settings, self._metrics = settings, metrics
        self._scheduler, self._probe = scheduler, probe
        # Few threads: on a CPU they slow down inference, and each holds a decoded picture.
        self._codecs = ThreadPoolExecutor(max(2, (os.cpu_count() or 1) // 2), "codec")
        self._memory_failures = 0  # in a row

    async def stylize(
        self, brush: Brush[Network], content: bytes, options: Options, accept: str
    ) -> EncodedPastiche:
        """Paint an image file, and encode it in the format of `options`, `accept` or the input.

        Raises the RequestErrors of the image and its options; Overloaded, NotReady,
        DeadlineExceeded, OutOfMemory; InferenceFailed, BadOutput.
        """
        still = await self._read_header(content)
        if options.animation and still.frames > 1:
            return await self._stylize_animation(brush, still, options, accept)
        size = canvas_size(*still.size, options.size)
        check_canvas(*size, self._settings.max_pixels)
        format = answer_format(options, accept, default_answer(still.format))
        check_format(format, *still.size)
        finish = options.finish
        rgb_size = None if finish.shows_photo else drawn_size(*still.size, options.size)
        with self._scheduler.admit(max(still.pixels, size[0] * size[1])) as deadline:
            started = time.perf_counter()
            picture = await self._run(lambda: read_pixels(still, rgb_size))
            source = await self._run(lambda: canvas(picture, finish))
            decoded = time.perf_counter()
            painted = await self._paint(brush.network, brush.vector, source, deadline)
            quality = options.quality or self._settings.jpeg_quality
            encoded, encoding_seconds = await self._encode(
                lambda: encode(finished(picture, painted.pixels, finish), format, quality)
            )
        seconds = {
            "decode": decoded - started,
            "queue": painted.queue_seconds,
            "inference": painted.inference_seconds,
            "encode": encoding_seconds,
        }
        self._metrics.decode_seconds.observe(seconds["decode"])
        self._count(brush)
        return EncodedPastiche(encoded, format, brush.label, seconds)

    async def _stylize_animation(
        self, brush: Brush[Network], still: Still, options: Options, accept: str
    ) -> EncodedPastiche:
        settings = self._settings
        check_animation(still, settings.max_frames, settings.max_pixels)
        size = canvas_size(*still.size, options.size)
        check_canvas(*size, settings.max_pixels, still.frames)
        format = animation_format(options, accept, default_answer(still.format))
        check_format(format, *still.size)
        finish = options.finish
        with self._scheduler.admit(still.frames * max(still.pixels, size[0] * size[1])) as deadline:
            started = time.perf_counter()
            animation = await self._run(lambda: read_animation(still))
            key = await self._run(lambda: canvas(key_frame(animation.frames), finish))
            seconds = {"decode": time.perf_counter() - started, "queue": 0.0, "inference": 0.0}
            steady = SteadyNetwork(brush.network, key)
            frames = []
            for frame in animation.frames:
                source = await self._run(partial(canvas, frame, finish))
                painted = await self._paint(steady, brush.vector, source, deadline)
                frames.append(await self._run(partial(finished, frame, painted.pixels, finish)))
                seconds["queue"] += painted.queue_seconds
                seconds["inference"] += painted.inference_seconds
                deadline = math.inf  # it is for the start of the request
            moving = Animation(frames, animation.milliseconds, animation.plays)
            quality = options.quality or settings.jpeg_quality
            encoded, seconds["encode"] = await self._encode(
                lambda: encode_animation(moving, format, quality)
            )
        self._metrics.decode_seconds.observe(seconds["decode"])
        self._count(brush)
        return EncodedPastiche(encoded, format, brush.label, seconds)

    async def generate(
        self, brush: Brush[Generator], options: GenerateOptions, accept: str
    ) -> EncodedTexture:
        """Make a texture, and encode it in the format of `options`, `accept` or as PNG.

        Draws a seed if the options have none. Raises BadOption; Overloaded, NotReady,
        DeadlineExceeded, OutOfMemory; InferenceFailed, BadOutput.
        """
        width, height = options.width, options.height
        options.check_pixels(self._settings.max_pixels)
        format = answer_format(options, accept, "png")
        check_format(format, width, height)
        seed = options.choose_seed()
        generator = brush.network
        rows, columns = generator.cells(width, height, options.tileable)
        with self._scheduler.admit(rows * columns * generator.card.stride**2) as deadline:
            noise = await self._run(
                lambda: generator.noise(rows, columns, seed, options.variation, options.tileable)
            )
            painted = await self._paint(brush.network, brush.vector, noise, deadline)
            quality = options.quality or self._settings.jpeg_quality
            encoded, encoding_seconds = await self._encode(
                lambda: encode(Picture(painted.pixels[:height, :width]), format, quality)
            )
        seconds = {
            "queue": painted.queue_seconds,
            "inference": painted.inference_seconds,
            "encode": encoding_seconds,
        }
        self._count(brush)
        return EncodedTexture(encoded, format, brush.label, seconds, seed)

    def close(self) -> None:
        """Stop the threads; what they have not started is cancelled."""
        self._codecs.shutdown(wait=False, cancel_futures=True)

    async def _read_header(self, content: bytes) -> Still:
        def read() -> Still:
            settings = self._settings
            return read_header(content, settings.max_pixels, formats=settings.allowed_formats)

        return read() if len(content) <= SMALL_FILE else await asyncio.to_thread(read)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._codecs, work)

    async def _encode(self, encode: Callable[[], bytes]) -> tuple[bytes, float]:
        """Encode in a thread; also returns the seconds that took."""
        started = time.perf_counter()
        encoded = await self._run(encode)
        seconds = time.perf_counter() - started
        self._metrics.encode_seconds.observe(seconds)
        return encoded, seconds

    def _count(self, brush: Brush[Network] | Brush[Generator]) -> None:
        style = "_blend" if "," in brush.label else brush.label
        self._metrics.styles.labels(brush.network.operation, style).inc()

    async def _paint(
        self, network: Painter, vector: Vector, source: Source, deadline: float
    ) -> Painted:
        try:
            painted = await self._scheduler.paint(network, vector, source, deadline)
        except BadOutput:
            self._metrics.bad_outputs.inc()
            raise
        except OutOfMemory as error:
            self._metrics.refusals.labels("out_of_memory").inc()
            self._memory_failures += 1
            if self._memory_failures >= MAX_MEMORY_FAILURES:
                self._probe.report(f"{network.name}: {error}")
            raise
        self._memory_failures = 0
        return painted
