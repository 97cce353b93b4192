"""The load generator, and the parts of the soak in short forms with generous limits."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.tools import soak
from tests.tools.gateway import free_port, needs_nginx
from tests.tools.load import NO_CONNECTION, RESET, Load, Outcome, Report, _arrivals, report
from tests.tools.soak import Flood, Line

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def load(
    answers: list[bytes], phases: list[tuple[float, float]], together: int = 1, fresh: bool = True
) -> list[Report]:
    """Of a server that gives these answers in turn, once `together` requests wait for theirs."""

    async def run() -> list[Report]:
        waiting: list[asyncio.StreamWriter] = []
        callers: set[asyncio.StreamWriter] = set()
        remaining = itertools.cycle(answers)

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            callers.add(writer)
            with contextlib.suppress(ConnectionError):
                while await reader.readline():
                    while (await reader.readline()).strip():
                        pass
                    waiting.append(writer)
                    if len(waiting) >= together:
                        for waiter in waiting:
                            answer = next(remaining)
                            waiter.write(answer) if answer else waiter.transport.abort()
                        waiting.clear()
            writer.close()
            callers.discard(writer)

        server = await asyncio.start_server(take, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        loads = Load(f"http://127.0.0.1:{port}/a?b=c", [], 30, fresh)
        await loads.run(phases, None)
        server.close()
        while callers:
            await asyncio.sleep(0.01)
        return report(loads.outcomes, phases)

    return asyncio.run(run())


def test_requests_leave_whether_or_not_those_before_are_answered() -> None:
    (told,) = load([OK], [(100, 0.1)], together=10)  # a closed loop would wait for ever
    assert told["statuses"] == {"200": 10}


def test_statuses_refusals_and_resets_are_told_apart() -> None:
    refused = b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    bare = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
    (told,) = load([OK, refused, bare, b""], [(100, 0.08)])
    assert told["statuses"] == {"200": 2, "503": 4, RESET: 2}
    assert told["without_retry_after"] == 2
    assert len(told["lost"]) == 2


def test_connections_are_used_again_unless_the_server_closes_them() -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    for answer in (OK, closing):
        (told,) = load([answer], [(20, 0.2)], fresh=False)
        assert told["statuses"] == {"200": 4}


def test_a_closed_port_is_no_connection() -> None:
    loads = Load(f"http://127.0.0.1:{free_port()}/", [])
    asyncio.run(loads.run([(100, 0.03)], None))
    assert [outcome.status for outcome in loads.outcomes] == [NO_CONNECTION] * 3


def test_latency_counts_from_when_a_request_should_have_left() -> None:
    outcomes = [Outcome("a", 0, due=1.0, left=1.4, done=1.5, status=200, retry_after=False)]
    (told,) = report(outcomes, [(1, 2)])
    assert told["accepted"] == {"p50": 0.5, "p99": 0.5, "max": 0.5}
    assert told["late"]["max"] == 0.4


def test_goodput_is_what_was_answered_in_the_phases_time() -> None:
    outcomes = [
        Outcome("a", 0, 0.0, 0.0, 1.0, 200, False),
        Outcome("b", 0, 1.0, 1.0, 2.5, 200, False),  # asked in the first, answered in the second
        Outcome("c", 1, 2.0, 2.0, 2.1, 503, True),
        Outcome("d", 1, 3.0, 3.0, 9.0, 200, False),  # answered when all is over
    ]
    told = report(outcomes, [(1, 2), (1, 2)])
    assert [phase["goodput"] for phase in told] == [0.5, 0.5]
    assert [phase["sent"] for phase in told] == [2, 2]


@pytest.mark.parametrize("chance", [None, Random(1)])
def test_as_many_requests_leave_as_the_rate_says(chance: Random | None) -> None:
    arrivals = list(_arrivals([(100, 10), (10, 10)], chance))
    counts = [sum(phase == p for p, _ in arrivals) for phase in (0, 1)]
    assert counts == [pytest.approx(1000, rel=0.1), pytest.approx(100, rel=0.3)]
    assert [due for _, due in arrivals] == sorted(due for _, due in arrivals)


def judge(lines: Iterator[Line]) -> None:
    bad = [line for line in lines if not line.good]
    assert not bad


@needs_nginx
def test_a_flood_is_refused_and_what_is_accepted_is_answered(tmp_path: Path, models: Path) -> None:
    judge(soak.flood(tmp_path, models, Flood(3, 1, slack=4), 0.1, soak.SIDE, 10, real=False))


def test_who_leaves_is_dropped_and_harms_nobody(tmp_path: Path, models: Path) -> None:
    judge(soak.leaving(tmp_path, models, 1, 2))


def test_a_server_that_is_stopped_under_load_answers_what_it_accepted(
    tmp_path: Path, models: Path
) -> None:
    judge(soak.stopping(tmp_path, models, 1))


@pytest.mark.parametrize(("leak", "grows"), [(0, False), (2**16, True)])
def test_refusing_takes_no_memory_and_a_leak_would_be_noticed(
    tmp_path: Path, models: Path, leak: int, grows: bool
) -> None:
    grown, told = soak.refused_growth(tmp_path, models, 100, 50, leak)
    assert told["statuses"] == {"503": 100}
    assert (grown > 3 * soak.MIB) is grows
