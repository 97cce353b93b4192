"""Admission by pixels and one inference at a time, off the event loop, in batches of one size."""

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from app.errors import NotReady, Overloaded
from app.gallery import Brush
from app.images import Pixels
from app.metrics import Metrics

log = logging.getLogger(__name__)

LONGEST_RETRY = 60  # seconds


@dataclass(frozen=True)
class Painted:
    """What came of a job: uint8 [H, W, 3] and the seconds it waited and ran."""

    pixels: Pixels
    queue_seconds: float
    inference_seconds: float


@dataclass
class _Job:
    brush: Brush
    canvas: Pixels
    done: asyncio.Future[Painted]
    queued: float = field(default_factory=time.perf_counter)

    @property
    def kind(self) -> tuple[int, tuple[int, ...]]:
        return id(self.brush.network), self.canvas.shape


class Scheduler:
    """Owns the device: who wants to paint is admitted or refused at once, then waits in line."""

    def __init__(self, queue_pixels: int, batch_pixels: int, metrics: Metrics) -> None:
        """queue_pixels bounds what is admitted and not yet answered, batch_pixels one batch."""
        self._queue_pixels, self._batch_pixels = queue_pixels, batch_pixels
        self._metrics = metrics
        self._admitted = 0
        self._draining = False
        self._waiting: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._seconds_per_pixel = 0.0
        self._thread = ThreadPoolExecutor(1, "inference")
        self._worker = asyncio.create_task(self._work(), name="scheduler")

    @contextlib.contextmanager
    def admit(self, pixels: int) -> Iterator[None]:
        """Hold room for a request of so many pixels until the block ends.

        A request is admitted in any case when there is no other. Raises Overloaded, NotReady.
        """
        if self._draining:
            self._metrics.refusals.labels("draining").inc()
            raise NotReady("the server is shutting down", retry_after=1)
        if self._admitted and self._admitted + pixels > self._queue_pixels:
            self._metrics.refusals.labels("overloaded").inc()
            seconds = math.ceil(self._admitted * self._seconds_per_pixel)
            raise Overloaded("the queue is full", min(max(seconds, 1), LONGEST_RETRY))
        self._admitted += pixels
        self._metrics.admitted_pixels.set(self._admitted)
        try:
            yield
        finally:
            self._admitted -= pixels
            self._metrics.admitted_pixels.set(self._admitted)

    async def paint(self, brush: Brush, canvas: Pixels) -> Painted:
        """Paint canvas uint8 [H, W, 3] when its turn comes. Raises InferenceFailed."""
        job = _Job(brush, canvas, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._metrics.queue_depth.set(len(self._waiting))
        self._wake.set()
        return await job.done

    async def drain(self, seconds: float) -> None:
        """Admit nothing more, finish what was admitted, stop; give up after so many seconds."""
        self._draining = True
        deadline = time.monotonic() + seconds
        while self._admitted and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        if self._admitted:
            log.error("gave up on admitted requests after %s s", seconds)
        self._worker.cancel()
        self._thread.shutdown(wait=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            batch = self._take()
            if not batch:
                self._wake.clear()
                continue
            started = time.perf_counter()
            try:
                painted = await loop.run_in_executor(self._thread, _paint, batch)
            except Exception as error:
                # Whatever it is belongs to the requests of this batch; the worker goes on.
                for job in batch:
                    if not job.done.done():
                        job.done.set_exception(error)
                continue
            self._hand_out(batch, painted, started)

    def _take(self) -> list[_Job]:
        # The longest waiting job, and with it those of its size that the batch has room for.
        batch: list[_Job] = []
        later: deque[_Job] = deque()
        room = self._batch_pixels
        while self._waiting:
            job = self._waiting.popleft()
            if job.done.cancelled():
                continue
            pixels = job.canvas.shape[0] * job.canvas.shape[1]
            if not batch or (job.kind == batch[0].kind and pixels <= room):
                batch.append(job)
                room -= pixels
            else:
                later.append(job)
        self._waiting = later
        self._metrics.queue_depth.set(len(self._waiting))
        return batch

    def _hand_out(self, batch: list[_Job], painted: Pixels, started: float) -> None:
        seconds = time.perf_counter() - started
        per_pixel = seconds / (painted.shape[0] * painted.shape[1] * painted.shape[2])
        previous = self._seconds_per_pixel or per_pixel
        self._seconds_per_pixel = 0.8 * previous + 0.2 * per_pixel
        self._metrics.batch_size.observe(len(batch))
        self._metrics.inference_seconds.observe(seconds)
        for job, pixels in zip(batch, painted, strict=True):
            self._metrics.queue_seconds.observe(started - job.queued)
            if not job.done.done():
                job.done.set_result(Painted(pixels, started - job.queued, seconds))


def _paint(batch: list[_Job]) -> Pixels:
    images = np.stack([job.canvas for job in batch])
    styles = np.stack([job.brush.vector for job in batch])
    return batch[0].brush.network.paint(images, styles)
