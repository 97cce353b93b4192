import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from app.engine.scheduler import Painted, Scheduler
from app.errors import BadOutput, DeadlineExceeded, InferenceFailed, NotReady, Overloaded
from app.metrics import Metrics
from tests.tools.painter import FakePainter

AsyncTest = Callable[[], Coroutine[Any, Any, None]]


def run_async(test: AsyncTest) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


@asynccontextmanager
async def running(
    queue_pixels: int = 1000, batch_pixels: int = 400, **more: float
) -> AsyncIterator[tuple[Scheduler, FakePainter]]:
    """A scheduler, and a network whose gate is closed."""
    network = FakePainter()
    scheduler = Scheduler(queue_pixels, batch_pixels, Metrics(), **more)
    try:
        yield scheduler, network
    finally:
        network.gate.set()
        await scheduler.drain(5)


def canvas(side: int = 10) -> np.ndarray:
    return np.zeros((side, side, 3), np.uint8)


def start(
    scheduler: Scheduler, network: FakePainter, value: int = 1, side: int = 10
) -> asyncio.Task[Painted]:
    """Queue a canvas, to be painted in `value`."""
    style = np.array([value], np.float32)
    return asyncio.create_task(scheduler.paint(network, style, canvas(side)))


async def until_waiting(scheduler: Scheduler, count: int) -> None:
    while len(scheduler._waiting) != count:
        await asyncio.sleep(0)


async def start_batch(
    scheduler: Scheduler, network: FakePainter, value: int = 1
) -> asyncio.Task[Painted]:
    """A job whose batch is running, until the network's gate opens."""
    job = start(scheduler, network, value)
    await until_waiting(scheduler, 1)
    await until_waiting(scheduler, 0)
    return job


def value(painted: Painted) -> int:
    return int(painted.pixels[0, 0, 0])


@run_async
async def test_waiting_jobs_of_one_size_share_a_batch_whatever_their_style() -> None:
    async with running() as (scheduler, network):
        first = await start_batch(scheduler, network, 0)
        jobs = [start(scheduler, network, i) for i in range(1, 6)]
        await until_waiting(scheduler, 5)
        network.gate.set()
        painted = await asyncio.gather(first, *jobs)
        assert network.batches == [1, 4, 1]  # a batch of 400 pixels holds four of 100
        assert [value(p) for p in painted] == list(range(6))


@run_async
async def test_the_limit_of_batches_can_be_changed() -> None:
    async with running() as (scheduler, network):
        scheduler.limit_batches(200)
        first = await start_batch(scheduler, network, 0)
        jobs = [start(scheduler, network, i) for i in range(1, 6)]
        await until_waiting(scheduler, 5)
        network.gate.set()
        await asyncio.gather(first, *jobs)
        assert network.batches == [1, 2, 2, 1]


@run_async
async def test_jobs_of_another_size_or_network_get_a_batch_of_their_own() -> None:
    async with running() as (scheduler, network):
        other = FakePainter(gate=network.gate)
        first = await start_batch(scheduler, network)
        jobs = [
            start(scheduler, painter, side=side)
            for painter, side in [(network, 10), (network, 8), (other, 10), (network, 10)]
        ]
        await until_waiting(scheduler, 4)
        network.gate.set()
        await asyncio.gather(first, *jobs)
        assert network.batches == [1, 2, 1]
        assert other.batches == [1]


@run_async
async def test_batches_are_halved_after_the_device_ran_out_of_memory() -> None:
    async with running(queue_pixels=10_000, batch_pixels=800) as (scheduler, network):
        first = await start_batch(scheduler, network, 0)
        network.memory = network.memory_after_rebuild = 4
        jobs = [start(scheduler, network, i) for i in range(1, 17)]
        await until_waiting(scheduler, 16)
        network.gate.set()
        painted = await asyncio.gather(first, *jobs)
        assert network.batches == [1, 8, 4, 4, 4, 4]
        assert [value(p) for p in painted] == list(range(17))


@run_async
async def test_a_full_queue_refuses_requests_and_says_when_to_retry() -> None:
    async with running(queue_pixels=250) as (scheduler, _):
        with scheduler.admit(100), scheduler.admit(100):
            with pytest.raises(Overloaded) as refused, scheduler.admit(100):
                pass
            assert 1 <= refused.value.retry_after <= 60
            with scheduler.admit(50):
                pass
        with scheduler.admit(250):
            pass


@run_async
async def test_a_request_larger_than_the_queue_is_admitted_if_there_is_no_other() -> None:
    async with running(queue_pixels=250) as (scheduler, _):
        with scheduler.admit(300), pytest.raises(Overloaded), scheduler.admit(1):
            pass


@run_async
async def test_retry_after_estimates_the_time_for_what_is_admitted() -> None:
    async with running(queue_pixels=10_000) as (scheduler, _):
        scheduler._rate.add(seconds=0.3, pixels=100)
        with scheduler.admit(10_000), pytest.raises(Overloaded) as refused, scheduler.admit(1):
            pass
        assert refused.value.retry_after == 30


@run_async
async def test_a_request_that_would_miss_its_deadline_is_refused() -> None:
    async with running(queue_pixels=10_000, deadline_seconds=10) as (scheduler, _):
        scheduler._rate.add(seconds=0.3, pixels=100)
        with scheduler.admit(9000), pytest.raises(Overloaded), scheduler.admit(1):
            pass
        with scheduler.admit(10), scheduler.admit(100):
            pass


@run_async
async def test_painting_is_measured_for_the_estimate() -> None:
    async with running() as (scheduler, network):
        job = await start_batch(scheduler, network)
        await asyncio.sleep(0.05)
        network.gate.set()
        painted = await job
        assert painted.inference_seconds >= 0.05
        assert scheduler._rate.seconds(100) == pytest.approx(painted.inference_seconds)


@run_async
async def test_the_estimate_weights_batches_by_their_pixels() -> None:
    async with running() as (scheduler, _):
        for _ in range(20):
            scheduler._rate.add(0.01, 100)
        scheduler._rate.add(0.1, 1_000_000)
        assert scheduler._rate.seconds(1_000_000) < 0.2


@run_async
async def test_an_error_fails_the_jobs_of_its_batch_and_the_next_batch_is_painted() -> None:
    async with running() as (scheduler, network):
        network.gate.set()
        network.error = InferenceFailed("broken")
        with pytest.raises(InferenceFailed):
            await start(scheduler, network)
        network.error = None
        assert value(await start(scheduler, network, 3)) == 3


@run_async
async def test_an_unexpected_error_does_not_stop_the_queue() -> None:
    async with running() as (scheduler, network):
        network.gate.set()
        network.memory, network.rebuild_error = 0, RuntimeError("unexpected")
        with pytest.raises(RuntimeError, match="unexpected"):
            await start(scheduler, network)
        assert value(await start(scheduler, network, 7)) == 7


@run_async
async def test_only_the_invalid_output_of_a_batch_fails() -> None:
    async with running() as (scheduler, network):
        await start_batch(scheduler, network)
        photo = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
        style = np.ones(1, np.float32)
        jobs = [
            asyncio.create_task(scheduler.paint(network, style, pixels))
            for pixels in (canvas(), photo, canvas())
        ]
        await until_waiting(scheduler, 3)
        network.gate.set()
        first, invalid, last = await asyncio.gather(*jobs, return_exceptions=True)
        assert network.batches == [1, 3]
        assert isinstance(first, Painted)
        assert isinstance(invalid, BadOutput)
        assert isinstance(last, Painted)


@run_async
async def test_cancelling_removes_a_waiting_job_from_the_queue() -> None:
    async with running() as (scheduler, network):
        first = await start_batch(scheduler, network)
        cancelled, remaining = start(scheduler, network, side=7), start(scheduler, network, 3)
        await until_waiting(scheduler, 2)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert len(scheduler._waiting) == 1
        assert b"pastiche_queue_depth 1.0" in scheduler._metrics.text()
        network.gate.set()
        await first
        assert value(await remaining) == 3
        assert network.batches == [1, 1]


@run_async
async def test_a_running_batch_completes_although_one_of_its_jobs_is_cancelled() -> None:
    async with running() as (scheduler, network):
        first, other = await start_batch(scheduler, network), FakePainter()
        jobs = [start(scheduler, other, i) for i in range(3)]
        await until_waiting(scheduler, 3)
        network.gate.set()
        await first
        await until_waiting(scheduler, 0)
        jobs[1].cancel()
        other.gate.set()
        assert value(await jobs[0]) == 0
        assert value(await jobs[2]) == 2
        assert jobs[1].cancelled()
        assert other.batches == [3]


@run_async
async def test_a_job_that_still_waits_at_its_deadline_fails_and_is_not_painted() -> None:
    async with running(deadline_seconds=0.05) as (scheduler, network):
        first = await start_batch(scheduler, network)
        style = np.ones(1, np.float32)
        with scheduler.admit(49) as deadline, pytest.raises(DeadlineExceeded) as late:
            await scheduler.paint(network, style, canvas(7), deadline)
        assert 1 <= late.value.retry_after <= 60
        assert not scheduler._waiting
        with scheduler.admit(49) as deadline:
            await asyncio.sleep(0.1)  # as if decoding took longer than the deadline
            with pytest.raises(DeadlineExceeded):
                await scheduler.paint(network, style, canvas(7), deadline)
        network.gate.set()
        await first
        assert network.batches == [1]


@run_async
async def test_a_job_that_has_started_by_its_deadline_is_finished() -> None:
    async with running(deadline_seconds=1) as (scheduler, network):
        with scheduler.admit(100) as deadline:
            style = np.full(1, 4, np.float32)
            job = asyncio.create_task(scheduler.paint(network, style, canvas(), deadline))
            await until_waiting(scheduler, 1)
            await until_waiting(scheduler, 0)
            while asyncio.get_running_loop().time() < deadline + 0.1:
                await asyncio.sleep(0.1)
            network.gate.set()
            assert value(await job) == 4


@run_async
async def test_draining_finishes_admitted_requests_and_refuses_new_ones() -> None:
    async with running() as (scheduler, network):

        async def request() -> int:
            with scheduler.admit(100):
                return value(await start(scheduler, network, 5))

        admitted = asyncio.create_task(request())
        while not scheduler._admitted:
            await asyncio.sleep(0)
        draining = asyncio.create_task(scheduler.drain(60))
        await asyncio.sleep(0)
        with pytest.raises(NotReady), scheduler.admit(1):
            pass
        assert not draining.done()
        network.gate.set()
        await draining
        assert await admitted == 5


@run_async
async def test_draining_gives_up_after_its_time() -> None:
    scheduler = Scheduler(1000, 400, Metrics())
    with scheduler.admit(100):
        await asyncio.wait_for(scheduler.drain(0.05), 60)


@run_async
async def test_the_event_loop_runs_while_the_device_is_busy() -> None:
    async with running() as (scheduler, network):
        job = await start_batch(scheduler, network)
        await asyncio.sleep(0)  # would not return if the batch ran in the event loop
        assert not job.done()
        network.gate.set()
        await job


@run_async
async def test_a_source_counts_with_the_pixels_of_its_picture() -> None:
    class FakeGenerator(FakePainter):
        def pixels(self, source: np.ndarray) -> int:
            return 100 * int(source.shape[1] * source.shape[2])

    async with running(batch_pixels=250) as (scheduler, network):
        first = await start_batch(scheduler, network)
        generator = FakeGenerator(gate=network.gate)
        style, noise = np.array([1], np.float32), np.zeros((6, 1, 1), np.float32)
        jobs = [asyncio.create_task(scheduler.paint(generator, style, noise)) for _ in range(3)]
        await until_waiting(scheduler, 3)
        network.gate.set()
        await asyncio.gather(first, *jobs)
        assert generator.batches == [2, 1]
