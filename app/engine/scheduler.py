"""Admission by pixels and one inference at a time, off the event loop, in batches of one size."""

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

from ..errors import BadOutput, DeadlineExceeded, NotReady, OutOfMemory, Overloaded, PasticheError
from ..metrics import Metrics
from ..pixels.images import Pixels
from .gallery import Brush
from .network import check_output

log = logging.getLogger(__name__)

LONGEST_RETRY = 60  # seconds
RECOVERY = 100  # batches in which a batch size that was halved doubles again


@dataclass(frozen=True)
class Painted:
    """What came of a job: uint8 [H, W, 3] and the seconds it waited and ran."""

    pixels: Pixels
    queue_seconds: float
    inference_seconds: float


@dataclass(eq=False)
class _Job:
    brush: Brush
    canvas: Pixels
    done: asyncio.Future[Painted]
    patience: asyncio.Timeout  # cancels `done`; ends when the job's batch begins
    queued: float = field(default_factory=time.perf_counter)

    @property
    def kind(self) -> tuple[int, tuple[int, ...]]:
        return id(self.brush.network), self.canvas.shape

    @property
    def pixels(self) -> int:
        return self.canvas.size // 3


class Scheduler:
    """Owns the device: who wants to paint is admitted or refused at once, then waits in line."""

    def __init__(
        self,
        queue_pixels: int,
        batch_pixels: int,
        metrics: Metrics,
        deadline_seconds: float = math.inf,
    ) -> None:
        """queue_pixels bounds what is admitted and not yet answered, batch_pixels one batch.

        deadline_seconds: from admission; what has not begun to be painted by then never is.
        """
        self._queue_pixels, self._deadline_seconds = queue_pixels, deadline_seconds
        self._batch_pixels = batch_pixels
        self._room: float = batch_pixels  # what the device has memory for
        self._metrics = metrics
        self._admitted = 0
        self._draining = False
        self._waiting: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._rate = _Rate()
        self._thread = ThreadPoolExecutor(1, "inference")
        self._loop = asyncio.get_running_loop()
        self._worker = asyncio.create_task(self._work(), name="scheduler")

    def bound_batches(self, pixels: int) -> None:
        """From now on at most so many pixels in one batch; a larger picture is one of its own."""
        self._batch_pixels = self._room = pixels

    @contextlib.contextmanager
    def admit(self, pixels: int) -> Iterator[float]:
        """Hold room for a request of so many pixels until the block ends; gives its deadline.

        A request is admitted in any case when there is no other; else if its pixels fit, and those
        before it will be painted by its deadline, as far as one can tell. Raises Overloaded,
        NotReady.
        """
        if self._draining:
            self._metrics.refusals.labels("draining").inc()
            raise NotReady("the server is shutting down", retry_after=1)
        wait = self._rate.seconds(self._admitted)
        full = self._admitted + pixels > self._queue_pixels or wait > self._deadline_seconds
        if self._admitted and full:
            self._metrics.refusals.labels("overloaded").inc()
            raise Overloaded("the queue is full", _retry_after(wait))
        self._admitted += pixels
        self._metrics.admitted_pixels.set(self._admitted)
        try:
            yield self._loop.time() + self._deadline_seconds
        finally:
            self._admitted -= pixels
            self._metrics.admitted_pixels.set(self._admitted)

    async def paint(self, brush: Brush, canvas: Pixels, deadline: float = math.inf) -> Painted:
        """Paint canvas uint8 [H, W, 3] when its turn comes.

        deadline: in the event loop's time, from `admit`. Whoever is cancelled leaves the line; a
        batch that has begun goes on without him. Raises DeadlineExceeded if it has not begun by
        then; OutOfMemory, BadOutput, InferenceFailed.
        """
        try:
            async with asyncio.timeout_at(None if deadline == math.inf else deadline) as patience:
                job = _Job(brush, canvas, self._loop.create_future(), patience)
                self._waiting.append(job)
                self._metrics.queue_depth.set(len(self._waiting))
                self._wake.set()
                return await job.done
        except TimeoutError as error:
            self._leave(job)
            self._metrics.refusals.labels("deadline").inc()
            raise DeadlineExceeded(
                f"the picture was not begun within {self._deadline_seconds:g} s",
                _retry_after(self._rate.seconds(self._admitted)),
            ) from error
        except asyncio.CancelledError:
            self._leave(job)
            raise

    def _leave(self, job: _Job) -> None:
        # At once: its pixels would take memory that is admitted to another.
        with contextlib.suppress(ValueError):
            self._waiting.remove(job)
        self._metrics.queue_depth.set(len(self._waiting))

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
        while True:
            await self._wake.wait()
            batch = self._take()
            if not batch:
                self._wake.clear()
                continue
            started = time.perf_counter()
            outcomes: list[Pixels | Exception]
            try:
                outcomes = await self._loop.run_in_executor(self._thread, self._paint, batch)
            except Exception as error:  # whatever it is, the line goes on
                outcomes = [error] * len(batch)
            self._hand_out(batch, outcomes, started)

    def _take(self) -> list[_Job]:
        # The longest waiting job, and with it those of its size that the batch has room for.
        batch: list[_Job] = []
        later: deque[_Job] = deque()
        room = self._room
        while self._waiting:
            job = self._waiting.popleft()
            if job.done.cancelled():
                continue
            if not batch or (job.kind == batch[0].kind and job.pixels <= room):
                batch.append(job)
                room -= job.pixels
                job.patience.reschedule(None)
            else:
                later.append(job)
        self._waiting = later
        self._metrics.queue_depth.set(len(self._waiting))
        return batch

    def _paint(self, batch: Sequence[_Job], rebuilt: bool = False) -> list[Pixels | Exception]:
        """What comes of each job, in the inference thread; whatever fails is an outcome too."""
        network = batch[0].brush.network
        try:
            images = np.stack([job.canvas for job in batch])
            painted = network.paint(images, np.stack([job.brush.vector for job in batch]))
            self._room = min(self._batch_pixels, self._room + self._batch_pixels / RECOVERY)
            good = check_output(images, painted)
        except OutOfMemory as error:
            if rebuilt and len(batch) == 1:
                return [error]
        except Exception as error:
            return [error] * len(batch)
        else:
            bad = BadOutput("the network painted nothing but one value")
            return [p if is_good else bad for p, is_good in zip(painted, good, strict=True)]
        if not rebuilt:
            try:
                network.rebuild()
            except OutOfMemory as error:
                return [error] * len(batch)
            except PasticheError:
                log.exception("%s cannot be loaded again; what is loaded paints on", network.name)
        half = (len(batch) + 1) // 2
        self._room = half * batch[0].pixels
        log.warning("no memory for a batch of %d; trying %d at a time", len(batch), half)
        parts = batch[:half], batch[half:]
        return [outcome for part in parts if part for outcome in self._paint(part, rebuilt=True)]

    def _hand_out(
        self, batch: list[_Job], outcomes: list[Pixels | Exception], started: float
    ) -> None:
        seconds = time.perf_counter() - started
        self._metrics.batch_size.observe(len(batch))
        self._metrics.inference_seconds.observe(seconds)
        if not all(isinstance(outcome, Exception) for outcome in outcomes):
            self._rate.add(seconds, sum(job.pixels for job in batch))
        for job, outcome in zip(batch, outcomes, strict=True):
            waited = started - job.queued
            self._metrics.queue_seconds.observe(waited)
            if job.done.done():
                continue
            if isinstance(outcome, Exception):
                job.done.set_exception(outcome)
            else:
                job.done.set_result(Painted(outcome, waited, seconds))


class _Rate:
    """Seconds a pixel, of the last batches; by pixels, as small pictures take more for each."""

    def __init__(self) -> None:
        self._seconds = self._pixels = 0.0

    def add(self, seconds: float, pixels: int) -> None:
        self._seconds = 0.8 * self._seconds + seconds
        self._pixels = 0.8 * self._pixels + pixels

    def seconds(self, pixels: int) -> float:
        return pixels * self._seconds / self._pixels if self._pixels else 0.0


def _retry_after(seconds: float) -> int:
    return min(max(math.ceil(seconds), 1), LONGEST_RETRY)
