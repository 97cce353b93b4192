import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from app.engine.gallery import Brush
from app.engine.scheduler import Painted, Scheduler
from app.errors import (
    BadOutput,
    DeadlineExceeded,
    InferenceFailed,
    ModelFolderError,
    NotReady,
    OutOfMemory,
    Overloaded,
)
from app.metrics import Metrics


@dataclass
class StandIn:
    """A network that notes its batches, and can be held, made to fail, or lack memory."""

    name: str = "stand-in"
    batches: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    memory: int = 1000  # images of a batch that there is memory for
    cures: int = 1000  # what a rebuild makes of it
    rebuilds: int = 0
    rebuild_error: Exception | None = None

    def rebuild(self) -> None:
        self.rebuilds += 1
        self.memory = self.cures
        if self.rebuild_error is not None:
            raise self.rebuild_error

    def paint(self, images: np.ndarray, styles: np.ndarray) -> np.ndarray:
        assert self.gate.wait(10)
        self.batches.append(len(images))
        if self.error is not None:
            raise self.error
        if len(images) > self.memory:
            raise OutOfMemory("the device has no memory left for this picture")
        marks = styles[:, :1, None, None].astype(np.uint8)
        return np.broadcast_to(marks, images.shape).copy()


def brush(network: StandIn, mark: int = 1) -> Brush:
    return Brush(network, np.array([mark], np.float32), f"style{mark}")  # type: ignore[arg-type]


def canvas(side: int = 10) -> np.ndarray:
    return np.zeros((side, side, 3), np.uint8)


@asynccontextmanager
async def scheduler(
    queue_pixels: int = 1000, batch_pixels: int = 400, **more: float
) -> AsyncIterator[tuple[Scheduler, StandIn]]:
    network = StandIn()
    made = Scheduler(queue_pixels, batch_pixels, Metrics(), **more)
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


def test_the_bound_on_batches_can_change() -> None:
    async def test() -> None:
        async with scheduler() as (made, network):
            made.bound_batches(200)
            first = asyncio.create_task(made.paint(brush(network, 0), canvas()))
            await asyncio.sleep(0.02)
            jobs = [made.paint(brush(network, i), canvas()) for i in range(1, 6)]
            asyncio.get_running_loop().call_later(0.05, network.gate.set)
            await asyncio.gather(first, *jobs)
            assert network.batches == [1, 2, 2, 1]

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


async def begun(made: Scheduler, network: StandIn, mark: int = 1) -> asyncio.Task[Painted]:
    """A job that the device is at, until the gate opens."""
    job = asyncio.create_task(made.paint(brush(network, mark), canvas()))
    while not made._waiting:
        await asyncio.sleep(0)
    while made._waiting:
        await asyncio.sleep(0)
    return job


def test_a_job_that_nobody_waits_for_any_more_leaves_the_line_at_once() -> None:
    async def test() -> None:
        async with scheduler() as (made, network):
            first = await begun(made, network)
            left = asyncio.create_task(made.paint(brush(network), canvas(7)))
            stays = asyncio.create_task(made.paint(brush(network, 3), canvas()))
            while len(made._waiting) < 2:
                await asyncio.sleep(0)
            left.cancel()
            await asyncio.wait([left])
            assert len(made._waiting) == 1
            assert b"pastiche_queue_depth 1.0" in made._metrics.text()
            network.gate.set()
            await first
            assert (await stays).pixels[0, 0, 0] == 3
            assert network.batches == [1, 1]

    run(test)


def test_who_leaves_a_batch_that_has_begun_does_not_harm_it() -> None:
    async def test() -> None:
        async with scheduler() as (made, network):
            first, other = await begun(made, network), StandIn()
            jobs = [asyncio.create_task(made.paint(brush(other, i), canvas())) for i in range(3)]
            while len(made._waiting) < 3:
                await asyncio.sleep(0)
            network.gate.set()
            await first
            while made._waiting:
                await asyncio.sleep(0)
            jobs[1].cancel()
            other.gate.set()
            assert (await jobs[0]).pixels[0, 0, 0] == 0
            assert (await jobs[2]).pixels[0, 0, 0] == 2
            assert jobs[1].cancelled()
            assert other.batches == [3]

    run(test)


def test_what_waits_beyond_its_deadline_is_answered_then_and_never_painted() -> None:
    async def test() -> None:
        async with scheduler(deadline_seconds=0.05) as (made, network):
            first = await begun(made, network)  # the device is busy until the gate opens
            with made.admit(49) as deadline, pytest.raises(DeadlineExceeded) as late:
                await made.paint(brush(network), canvas(7), deadline)
            assert 1 <= late.value.retry_after <= 60
            assert not made._waiting
            with made.admit(49) as deadline:
                await asyncio.sleep(0.1)  # decoding took too long
                with pytest.raises(DeadlineExceeded):
                    await made.paint(brush(network), canvas(7), deadline)
            network.gate.set()
            await first
            assert network.batches == [1]

    run(test)


def test_a_job_that_has_begun_by_its_deadline_is_finished() -> None:
    async def test() -> None:
        async with scheduler(deadline_seconds=0.5) as (made, network):
            with made.admit(100) as deadline:
                job = asyncio.create_task(made.paint(brush(network, 4), canvas(), deadline))
                await asyncio.sleep(0.7)
                network.gate.set()
                assert (await job).pixels[0, 0, 0] == 4

    run(test)


def test_what_would_wait_beyond_its_deadline_is_refused_at_once() -> None:
    async def test() -> None:
        async with scheduler(queue_pixels=10_000, deadline_seconds=10) as (made, network):
            job = await begun(made, network)
            await asyncio.sleep(0.3)  # 100 pixels in 0.3 s, at least
            network.gate.set()
            await job
            with made.admit(9000), pytest.raises(Overloaded), made.admit(1):
                pass
            with made.admit(10), made.admit(100):
                pass

    run(test)


def test_small_pictures_do_not_make_the_line_look_long() -> None:
    async def test() -> None:
        async with scheduler(queue_pixels=10**9) as (made, _):
            for _ in range(20):
                made._rate.add(0.01, 100)
            made._rate.add(0.1, 1_000_000)
            assert made._rate.seconds(1_000_000) < 0.2

    run(test)


def test_without_memory_a_batch_is_halved_after_one_rebuild_and_all_are_painted() -> None:
    async def test() -> None:
        async with scheduler(batch_pixels=800) as (made, network):
            first = await begun(made, network)
            network.memory, network.cures = 1, 2
            jobs = [made.paint(brush(network, i), canvas()) for i in range(5)]
            asyncio.get_running_loop().call_later(0.05, network.gate.set)
            painted = await asyncio.gather(*jobs)
            assert [int(p.pixels[0, 0, 0]) for p in painted] == list(range(5))
            assert network.batches == [1, 5, 3, 2, 1, 2]
            assert network.rebuilds == 1
            await first

    run(test)


def test_the_next_batches_are_halved_too_and_slowly_grow_again() -> None:
    async def test() -> None:
        async with scheduler(batch_pixels=800) as (made, network):
            first = await begun(made, network)
            network.memory = network.cures = 4
            jobs = [made.paint(brush(network), canvas()) for _ in range(16)]
            asyncio.get_running_loop().call_later(0.05, network.gate.set)
            await asyncio.gather(first, *jobs)
            assert network.batches == [1, 8, 4, 4, 4, 4]
            for _ in range(25):
                await made.paint(brush(network), canvas())
            assert 500 < made._room < 800
            for _ in range(100):
                await made.paint(brush(network), canvas())
            assert made._room == 800

    run(test)


def test_one_picture_without_memory_is_tried_again_on_a_new_session() -> None:
    async def test() -> None:
        async with scheduler() as (made, network):
            network.gate.set()
            network.memory = 0
            assert (await made.paint(brush(network, 6), canvas())).pixels[0, 0, 0] == 6
            assert (network.batches, network.rebuilds) == ([1, 1], 1)

    run(test)


@pytest.mark.parametrize("rebuild_error", [None, ModelFolderError("changed"), OutOfMemory("none")])
def test_one_picture_that_never_fits_is_refused_and_the_next_is_painted(
    rebuild_error: Exception | None,
) -> None:
    async def test() -> None:
        async with scheduler() as (made, network):
            network.gate.set()
            network.memory, network.cures, network.rebuild_error = 0, 0, rebuild_error
            with pytest.raises(OutOfMemory) as refused:
                await made.paint(brush(network), canvas())
            assert refused.value.headers["Retry-After"]
            assert network.rebuilds == 1
            network.memory = 1
            assert (await made.paint(brush(network, 7), canvas())).pixels[0, 0, 0] == 7

    run(test)


def test_the_line_goes_on_after_what_was_not_foreseen() -> None:
    async def test() -> None:
        async with scheduler() as (made, network):
            network.gate.set()
            network.memory, network.rebuild_error = 0, RuntimeError("unforeseen")
            with pytest.raises(RuntimeError, match="unforeseen"):
                await made.paint(brush(network), canvas())
            assert (await made.paint(brush(network, 7), canvas())).pixels[0, 0, 0] == 7

    run(test)


def test_only_the_bad_picture_of_a_batch_fails() -> None:
    async def test() -> None:
        async with scheduler() as (made, network):
            first = await begun(made, network)
            photo = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
            jobs = [made.paint(brush(network, 1), c) for c in (canvas(), photo, canvas())]
            asyncio.get_running_loop().call_later(0.05, network.gate.set)
            good, bad, neighbour = await asyncio.gather(*jobs, return_exceptions=True)
            assert network.batches == [1, 3]
            assert isinstance(bad, BadOutput)
            assert isinstance(good, Painted)
            assert isinstance(neighbour, Painted)
            await first

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
