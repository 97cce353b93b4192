"""The load generator, and short forms of the soak tests with generous limits."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.tools import soak
from tests.tools.gateway import needs_nginx
from tests.tools.load import NO_CONNECTION, RESET, Load, Outcome, Report, arrivals, report
from tests.tools.servers import free_port
from tests.tools.soak import Flood, Line

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def load(
    responses: list[bytes], phases: list[tuple[float, float]], together: int = 1, fresh: bool = True
) -> list[Report]:
    """Load a server that sends these responses in turn, once `together` requests are waiting."""

    async def run() -> list[Report]:
        waiting: list[asyncio.StreamWriter] = []
        clients: set[asyncio.StreamWriter] = set()
        remaining = itertools.cycle(responses)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            clients.add(writer)
            with contextlib.suppress(ConnectionError):
                while await reader.readline():
                    while (await reader.readline()).strip():
                        pass
                    waiting.append(writer)
                    if len(waiting) >= together:
                        for waiter in waiting:
                            response = next(remaining)
                            waiter.write(response) if response else waiter.transport.abort()
                        waiting.clear()
            writer.close()
            clients.discard(writer)

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        loads = Load(f"http://127.0.0.1:{port}/a?b=c", [], 30, fresh)
        await loads.run(phases, None)
        server.close()
        while clients:
            await asyncio.sleep(0.01)
        return report(loads.outcomes, phases)

    return asyncio.run(run())


def test_requests_are_sent_whether_or_not_earlier_ones_are_answered() -> None:
    (phase,) = load([OK], [(100, 0.1)], together=10)  # a closed loop would wait forever
    assert phase["statuses"] == {"200": 10}


def test_statuses_refusals_and_resets_are_counted_separately() -> None:
    refused = b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    bare = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
    (phase,) = load([OK, refused, bare, b""], [(100, 0.08)])
    assert phase["statuses"] == {"200": 2, "503": 4, RESET: 2}
    assert phase["without_retry_after"] == 2
    assert len(phase["lost"]) == 2


def test_connections_are_reused_unless_the_server_closes_them() -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    for response in (OK, closing):
        (phase,) = load([response], [(20, 0.2)], fresh=False)
        assert phase["statuses"] == {"200": 4}


def test_a_closed_port_is_reported_as_no_connection() -> None:
    loads = Load(f"http://127.0.0.1:{free_port()}/", [])
    asyncio.run(loads.run([(100, 0.03)], None))
    assert [outcome.status for outcome in loads.outcomes] == [NO_CONNECTION] * 3


def test_latency_is_measured_from_the_scheduled_time() -> None:
    outcomes = [Outcome("a", 0, due=1.0, sent=1.4, done=1.5, status=200, retry_after=False)]
    (phase,) = report(outcomes, [(1, 2)])
    assert phase["accepted"] == {"p50": 0.5, "p99": 0.5, "p999": 0.5, "max": 0.5}
    assert phase["late"]["max"] == 0.4


def test_goodput_counts_the_responses_of_a_phase() -> None:
    outcomes = [
        Outcome("a", 0, 0.0, 0.0, 1.0, 200, False),
        Outcome("b", 0, 1.0, 1.0, 2.5, 200, False),  # sent in phase 0, answered in 1
        Outcome("c", 1, 2.0, 2.0, 2.1, 503, True),
        Outcome("d", 1, 3.0, 3.0, 9.0, 200, False),  # answered after the last phase
    ]
    phases = report(outcomes, [(1, 2), (1, 2)])
    assert [phase["goodput"] for phase in phases] == [0.5, 0.5]
    assert [phase["sent"] for phase in phases] == [2, 2]


@pytest.mark.parametrize("rng", [None, Random(1)])
def test_the_rate_determines_how_many_requests_are_sent(rng: Random | None) -> None:
    scheduled = list(arrivals([(100, 10), (10, 10)], rng))
    counts = [sum(phase == p for p, _ in scheduled) for phase in (0, 1)]
    assert counts == [pytest.approx(1000, rel=0.1), pytest.approx(100, rel=0.3)]
    assert [due for _, due in scheduled] == sorted(due for _, due in scheduled)


def check(lines: Iterator[Line]) -> None:
    """Assert that every measurement is within its limit."""
    exceeded = [line for line in lines if not line.good]
    assert not exceeded


@needs_nginx
def test_a_flood_is_refused_and_accepted_requests_are_answered(
    tmp_path: Path, models: Path
) -> None:
    check(soak.flood(tmp_path, models, Flood(3, 1, slack=4), 0.1, soak.SIDE, 10, real=False))


def test_a_disconnected_client_is_dropped_without_affecting_others(
    tmp_path: Path, models: Path
) -> None:
    check(soak.leaving(tmp_path, models, 1, 2))


def test_a_server_stopped_under_load_answers_all_accepted_requests(
    tmp_path: Path, models: Path
) -> None:
    check(soak.stopping(tmp_path, models, 1))


@pytest.mark.parametrize(("leak", "grows"), [(0, False), (2**16, True)])
def test_refused_requests_take_no_memory_and_a_leak_is_noticed(
    tmp_path: Path, models: Path, leak: int, grows: bool
) -> None:
    grown, phase = soak.refused_growth(tmp_path, models, 100, 50, leak)
    assert phase["statuses"] == {"503": 100}
    assert (grown > 3 * soak.MIB) is grows


@needs_nginx
def test_hostile_requests_neither_stall_the_server_nor_take_its_memory(
    tmp_path: Path, models: Path
) -> None:
    check(soak.hostile(tmp_path, models, 100, 16, slack=50))
