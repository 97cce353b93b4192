import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from app.errors import InferenceFailed, NotReady, Overloaded
from app.gallery import Brush
from app.metrics import Metrics
from app.scheduler import Scheduler


@dataclass
class StandIn:
    """A network that takes a fixed time, notes its batches, and can be held or made to fail."""

    name: str = "stand-in"
    batches: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def paint(self, images: np.ndarray, styles: np.ndarray) -> np.ndarray:
        assert self.gate.wait(10)
        self.batches.append(len(images))
        if self.error is not None:
            raise self.error
        marks = styles[:, :1, None, None].astype(np.uint8)
        return np.broadcast_to(marks, images.shape).copy()


def brush(network: StandIn, mark: int = 1) -> Brush:
    return Brush(network, np.array([mark], np.float32), f"style{mark}")  # type: ignore[arg-type]


def canvas(side: int = 10) -> np.ndarray:
    return np.zeros((side, side, 3), np.uint8)


@asynccontextmanager
async def scheduler(
    queue_pixels: int = 1000, batch_pixels: int = 400
) -> AsyncIterator[tuple[Scheduler, StandIn]]:
    network = StandIn()
    made = Scheduler(queue_pixels, batch_pixels, Metrics())
    try:
        yield made, network
    finally:
        network.gate.set()
        await made.drain(5)


Test = Callable[[], Coroutine[Any, Any, None]]


def run(test: Test) -> None:
    asyncio.run(test())


def test_what_waits_at_one_size_is_painted_in_one_batch_whatever_its_style() -> None:
    async def test() -> None:
        async with scheduler() as (made, network):
            first = asyncio.create_task(made.paint(brush(network, 0), canvas()))
            await asyncio.sleep(0.02)  # it runs, the others wait
            jobs = [made.paint(brush(network, i), canvas()) for i in range(1, 6)]
            asyncio.get_running_loop().call_later(0.05, network.gate.set)
            painted = await asyncio.gather(first, *jobs)
            assert network.batches == [1, 4, 1]  # 400 pixels of batch hold four of 100
            assert [int(p.pixels[0, 0, 0]) for p in painted] == list(range(6))

    run(test)


def test_other_sizes_and_networks_wait_for_a_batch_of_their_own() -> None:
    async def test() -> None:
        async with scheduler() as (made, network):
            other = StandIn(gate=network.gate)
            pairs = [(network, 10), (network, 8), (other, 10), (network, 10)]
            first = asyncio.create_task(made.paint(brush(network), canvas()))
            await asyncio.sleep(0.02)  # it runs, the others wait
            asyncio.get_running_loop().call_later(0.05, network.gate.set)
            await asyncio.gather(first, *(made.paint(brush(n), canvas(s)) for n, s in pairs))
            assert network.batches == [1, 2, 1]
            assert other.batches == [1]

    run(test)


def test_a_full_queue_refuses_at_once_with_a_time_to_come_back() -> None:
    async def test() -> None:
        async with scheduler(queue_pixels=250) as (made, _):
            with made.admit(100), made.admit(100):
                with pytest.raises(Overloaded) as refused, made.admit(100):
                    pass
                assert 1 <= refused.value.retry_after <= 60
                with made.admit(50):
                    pass
            with made.admit(250):
                pass

    run(test)


def test_a_request_larger_than_the_queue_is_admitted_when_it_is_alone() -> None:
    async def test() -> None:
        async with scheduler(queue_pixels=250) as (made, _):
            with made.admit(300), pytest.raises(Overloaded), made.admit(1):
                pass

    run(test)


def test_retry_after_grows_with_what_is_admitted() -> None:
    async def test() -> None:
        async with scheduler(queue_pixels=10_000) as (made, network):
            job = asyncio.create_task(made.paint(brush(network), canvas()))
            await asyncio.sleep(0.3)  # 100 pixels in 0.3 s
            network.gate.set()
            await job
            with made.admit(10_000), pytest.raises(Overloaded) as refused, made.admit(1):
                pass
            assert 20 <= refused.value.retry_after <= 60

    run(test)


def test_an_error_reaches_the_requests_of_its_batch_and_the_next_is_painted() -> None:
    async def test() -> None:
        async with scheduler() as (made, network):
            network.gate.set()
            network.error = InferenceFailed("broken")
            with pytest.raises(InferenceFailed):
                await made.paint(brush(network), canvas())
            network.error = None
            assert (await made.paint(brush(network, 3), canvas())).pixels[0, 0, 0] == 3

    run(test)


def test_a_job_that_nobody_waits_for_any_more_is_not_painted() -> None:
    async def test() -> None:
        async with scheduler() as (made, network):
            first = asyncio.create_task(made.paint(brush(network), canvas()))
            await asyncio.sleep(0.02)
            left = asyncio.create_task(made.paint(brush(network), canvas(7)))
            await asyncio.sleep(0.02)
            left.cancel()
            network.gate.set()
            await first
            await made.paint(brush(network), canvas())
            assert network.batches == [1, 1]

    run(test)


def test_draining_finishes_what_was_admitted_and_refuses_what_comes() -> None:
    async def test() -> None:
        network = StandIn()
        made = Scheduler(1000, 400, Metrics())

        async def request() -> int:
            with made.admit(100):
                return int((await made.paint(brush(network, 5), canvas())).pixels[0, 0, 0])

        admitted = asyncio.create_task(request())
        await asyncio.sleep(0.02)
        draining = asyncio.create_task(made.drain(5))
        await asyncio.sleep(0.02)
        with pytest.raises(NotReady), made.admit(1):
            pass
        network.gate.set()
        await draining
        assert await admitted == 5

    run(test)


def test_the_event_loop_stays_free_while_the_device_works() -> None:
    async def test() -> None:
        async with scheduler() as (made, network):
            job = asyncio.create_task(made.paint(brush(network), canvas()))
            began = time.perf_counter()
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert time.perf_counter() - began < 1
            assert not job.done()
            network.gate.set()
            await job

    run(test)
