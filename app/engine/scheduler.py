"""The queue: admission by pixels, and batches of equal size, painted one at a time in a thread."""

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ..errors import DeadlineExceeded, NotReady, Overloaded
from ..metrics import Metrics
from ..model_folder import Vector
from ..pixels.images import Pixels
from .recovery import BatchPainter, Painter, Source

log = logging.getLogger(__name__)

MAX_RETRY_AFTER = 60  # seconds


@dataclass(frozen=True)
class Painted:
    """A picture uint8 [H, W, 3], and the seconds it waited and was painted for."""

    pixels: Pixels
    queue_seconds: float
    inference_seconds: float


@dataclass(eq=False)
class _Job:
    network: Painter
    style: Vector
    source: Source
    result: asyncio.Future[Painted]
    timeout: asyncio.Timeout  # cancels `result` at the deadline; disarmed when the batch starts
    queued_at: float = field(default_factory=time.perf_counter)

    @property
    def batch_key(self) -> tuple[int, tuple[int, ...]]:
        """Jobs can share a batch if this is equal."""
        return id(self.network), self.source.shape

    @property
    def pixels(self) -> int:
        return self.network.pixels(self.source)


class Scheduler:
    """Owns the device: admits or refuses requests, and paints what is admitted in order."""

    def __init__(
        self,
        queue_pixels: int,
        batch_pixels: int,
        metrics: Metrics,
        deadline_seconds: float = math.inf,
    ) -> None:
        """Create inside a running event loop.

        queue_pixels: limit of all admitted requests together. batch_pixels: limit of one batch.
        deadline_seconds: how long after its admission a request may start to be painted.
        """
        self._queue_pixels, self._deadline_seconds = queue_pixels, deadline_seconds
        self._painter = BatchPainter(batch_pixels)
        self._metrics = metrics
        self._admitted = 0  # pixels
        self._idle = asyncio.Event()  # set while nothing is admitted
        self._idle.set()
        self._closed = False
        self._waiting: deque[_Job] = deque()
        self._job_added = asyncio.Event()
        self._rate = _Rate()
        self._thread = ThreadPoolExecutor(1, "inference")
        self._loop = asyncio.get_running_loop()
        self._worker = asyncio.create_task(self._run_batches(), name="scheduler")

    def limit_batches(self, pixels: int) -> None:
        """Limit each batch to `pixels`; a larger picture gets a batch of its own."""
        self._painter.set_max_pixels(pixels)

    @contextlib.contextmanager
    def admit(self, pixels: int) -> Iterator[float]:
        """Reserve room for a request of `pixels` until the block ends; yields its deadline.

        A request is always admitted if there is no other. Otherwise its pixels must fit, and the
        requests before it must be expected to finish by its deadline. Raises Overloaded, or
        NotReady after `drain` was called.
        """
        if self._closed:
            self._metrics.refusals.labels("draining").inc()
            raise NotReady("the server is shutting down", retry_after=1)
        wait = self._rate.seconds(self._admitted)
        full = self._admitted + pixels > self._queue_pixels or wait > self._deadline_seconds
        if self._admitted and full:
            self._metrics.refusals.labels("overloaded").inc()
            raise Overloaded("the queue is full", _retry_after(wait))
        self._add_admitted(pixels)
        try:
            yield self._loop.time() + self._deadline_seconds
        finally:
            self._add_admitted(-pixels)

    async def paint(
        self, network: Painter, style: Vector, source: Source, deadline: float = math.inf
    ) -> Painted:
        """Queue a source, to be painted in a style float32 [D].

        source: an image uint8 [H, W, 3] for a network, noise float32 [Z, h, w] for a generator.
        deadline: from `admit`, in the event loop's time. Cancelling removes the job from the queue;
        a batch that is already running completes. Raises DeadlineExceeded if painting has not
        started by the deadline; OutOfMemory, BadOutput, InferenceFailed.
        """
        try:
            async with asyncio.timeout_at(None if deadline == math.inf else deadline) as timeout:
                job = _Job(network, style, source, self._loop.create_future(), timeout)
                self._waiting.append(job)
                self._metrics.queue_depth.set(len(self._waiting))
                self._job_added.set()
                return await job.result
        except TimeoutError as error:
            self._remove(job)
            self._metrics.refusals.labels("deadline").inc()
            raise DeadlineExceeded(
                f"painting did not start within {self._deadline_seconds:g} s",
                _retry_after(self._rate.seconds(self._admitted)),
            ) from error
        except asyncio.CancelledError:
            self._remove(job)
            raise

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, wait up to `seconds` for those that are admitted, and stop."""
        self._closed = True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            log.error("gave up on admitted requests after %g s", seconds)
        self._worker.cancel()
        self._thread.shutdown(wait=True)

    def _add_admitted(self, pixels: int) -> None:
        self._admitted += pixels
        self._metrics.admitted_pixels.set(self._admitted)
        if self._admitted:
            self._idle.clear()
        else:
            self._idle.set()

    def _remove(self, job: _Job) -> None:
        # Immediately, as its memory counts as free for other requests.
        with contextlib.suppress(ValueError):
            self._waiting.remove(job)
        self._metrics.queue_depth.set(len(self._waiting))

    async def _run_batches(self) -> None:
        while True:
            await self._job_added.wait()
            batch = self._next_batch()
            if not batch:
                self._job_added.clear()
                continue
            started = time.perf_counter()
            outcomes: list[Pixels | Exception]
            try:
                outcomes = await self._loop.run_in_executor(self._thread, self._paint, batch)
            except Exception as error:  # an unexpected error must not stop the queue
                outcomes = [error] * len(batch)
            self._deliver(batch, outcomes, started)

    def _next_batch(self) -> list[_Job]:
        # The job that has waited longest, and those like it that fit into the same batch.
        batch: list[_Job] = []
        later: deque[_Job] = deque()
        room = self._painter.limit
        while self._waiting:
            job = self._waiting.popleft()
            if job.result.cancelled():
                continue
            if not batch or (job.batch_key == batch[0].batch_key and job.pixels <= room):
                batch.append(job)
                room -= job.pixels
                job.timeout.reschedule(None)
            else:
                later.append(job)
        self._waiting = later
        self._metrics.queue_depth.set(len(self._waiting))
        return batch

    def _paint(self, batch: Sequence[_Job]) -> list[Pixels | Exception]:
        sources = np.stack([job.source for job in batch])
        styles = np.stack([job.style for job in batch])
        return self._painter.paint(batch[0].network, sources, styles)

    def _deliver(
        self, batch: Sequence[_Job], outcomes: Sequence[Pixels | Exception], started: float
    ) -> None:
        seconds = time.perf_counter() - started
        self._metrics.batch_size.observe(len(batch))
        operation = batch[0].network.operation
        self._metrics.inference_seconds.labels(operation).observe(seconds)
        if not all(isinstance(outcome, Exception) for outcome in outcomes):
            self._rate.add(seconds, sum(job.pixels for job in batch))
        for job, outcome in zip(batch, outcomes, strict=True):
            waited = started - job.queued_at
            self._metrics.queue_seconds.observe(waited)
            if job.result.done():
                continue
            if isinstance(outcome, Exception):
                job.result.set_exception(outcome)
            else:
                job.result.set_result(Painted(outcome, waited, seconds))


class _Rate:
    """Seconds per pixel, a decaying average.

    Batches are weighted by their pixels, as small pictures take longer per pixel.
    """

    def __init__(self) -> None:
        self._seconds = self._pixels = 0.0

    def add(self, seconds: float, pixels: int) -> None:
        self._seconds = 0.8 * self._seconds + seconds
        self._pixels = 0.8 * self._pixels + pixels

    def seconds(self, pixels: int) -> float:
        return pixels * self._seconds / self._pixels if self._pixels else 0.0


def _retry_after(seconds: float) -> int:
    return min(max(math.ceil(seconds), 1), MAX_RETRY_AFTER)
