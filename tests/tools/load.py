"""An open-loop load generator: `python -m tests.tools.load URL --rate 10 200 10 --seconds 5 20 5`.

A closed loop waits for a response before it sends the next request, and so slows down with the
server that it measures. This generator sends each request at its scheduled time, whether or not the
earlier ones have been answered, and measures latency from the scheduled time. It prints one JSON
line with a report for each rate. On SIGTERM it stops sending, and prints once all responses have
arrived.
"""

import argparse
import asyncio
import gc
import io
import json
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

ACCEPTED, REFUSED = 200, 503
RESET, NO_CONNECTION, TIMEOUT = "reset", "no connection", "timeout"  # in place of a status

Report = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a request; times are in seconds since the start."""

    name: str
    phase: int
    due: float  # when it was scheduled
    sent: float
    done: float
    status: int | str
    retry_after: bool


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = bytearray()
        self._end: int | None = None  # of the response, once its header has arrived
        self.response: asyncio.Future[tuple[int, bool]] | None = None  # status, has Retry-After
        self.reusable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._end is None:
            head_end = self._received.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = bytes(self._received[: head_end + 2]).lower()
            length = re.search(rb"\r\ncontent-length: *(\d+)\r\n", head)
            self._end = head_end + 4 + int(length[1] if length else 0)
            self._head = head
        if len(self._received) >= self._end and self.response and not self.response.done():
            self.reusable = b"\r\nconnection: close\r\n" not in self._head
            self.response.set_result((int(self._head[9:12]), b"\r\nretry-after: " in self._head))

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        if self.response and not self.response.done():
            self.response.set_exception(ConnectionResetError())

    async def request(self, content: bytes, timeout: float) -> tuple[int, bool]:
        self._received.clear()
        self._end = None
        self.response = asyncio.get_running_loop().create_future()
        self.transport.write(content)
        return await asyncio.wait_for(self.response, timeout)


class Load:
    """Sends requests to one URL and records their outcomes."""

    def __init__(
        self, url: str, bodies: Sequence[bytes], timeout: float = 60, fresh: bool = False
    ) -> None:
        """Prepare the requests.

        bodies: JPEGs to POST in turn; if empty, the requests are GET.
        fresh: send each request on a new connection.
        """
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        self._heads = [
            f"{'POST' if body else 'GET'} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n".encode()
            for body in bodies or [b""]
        ]
        self._bodies, self._timeout, self._fresh = bodies or [b""], timeout, fresh
        self._idle: list[_Connection] = []
        self.outcomes: list[Outcome] = []
        self._stopped = False

    def stop(self) -> None:
        """Send no more requests."""
        self._stopped = True

    async def run(self, phases: Sequence[tuple[float, float]], rng: Random | None) -> None:
        """Send at each (rate, seconds) in turn, at even intervals, or at random ones with `rng`."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        pending = set()
        for number, (phase, due) in enumerate(arrivals(phases, rng)):
            if (wait := start + due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if self._stopped:
                break
            task = asyncio.create_task(self._send(number, phase, due, start))
            pending.add(task)
            task.add_done_callback(pending.discard)
        await asyncio.gather(*pending)
        for connection in self._idle:
            connection.transport.abort()
        await asyncio.sleep(0)  # lets the transports close

    async def _send(self, number: int, phase: int, due: float, start: float) -> None:
        loop = asyncio.get_running_loop()
        which, name = number % len(self._bodies), f"load-{number}"
        request = b"%bX-Request-ID: %b\r\n\r\n%b" % (
            self._heads[which],
            name.encode(),
            self._bodies[which],
        )
        sent = loop.time() - start
        status: int | str
        status, retry_after, connection = NO_CONNECTION, False, None
        try:
            connection = await self._connection()
            status, retry_after = await connection.request(request, self._timeout)
        except TimeoutError:
            status = TIMEOUT
        except OSError:
            status = NO_CONNECTION if connection is None else RESET
        done = loop.time() - start
        self.outcomes.append(Outcome(name, phase, due, sent, done, status, retry_after))
        if connection is None:
            return
        if connection.reusable and isinstance(status, int) and not self._fresh:
            self._idle.append(connection)
        else:
            connection.transport.abort()

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Connection, self._host, self._port))[1]


def arrivals(
    phases: Sequence[tuple[float, float]], rng: Random | None
) -> Iterator[tuple[int, float]]:
    """Yield the phase and scheduled time of each request."""
    start = 0.0
    for phase, (rate, seconds) in enumerate(phases):
        due, number = 0.0, 0
        while due < seconds:
            yield phase, start + due
            number += 1
            due = due + rng.expovariate(rate) if rng else number / rate
        start += seconds


def report(outcomes: Sequence[Outcome], phases: Sequence[tuple[float, float]]) -> list[Report]:
    """Summarize the outcomes of each phase.

    `goodput` counts all responses with status 200 that arrive during a phase, whichever phase their
    requests belong to.
    """
    reports, start = [], 0.0
    for phase, (rate, seconds) in enumerate(phases):
        members = [o for o in outcomes if o.phase == phase]
        good = [o for o in outcomes if o.status == ACCEPTED and start <= o.done < start + seconds]
        reports.append(
            {
                "rate": rate,
                "seconds": seconds,
                "sent": len(members),
                "statuses": dict(Counter(str(o.status) for o in members)),
                "goodput": round(len(good) / seconds, 3),
                "accepted": _times([o.done - o.due for o in members if o.status == ACCEPTED]),
                "refused": _times([o.done - o.due for o in members if o.status == REFUSED]),
                "without_retry_after": sum(
                    o.status == REFUSED and not o.retry_after for o in members
                ),
                "late": _times([o.sent - o.due for o in members]),  # added by the generator
                "lost": [o.name for o in members if o.status in (RESET, TIMEOUT)],
            }
        )
        start += seconds
    return reports


def _times(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    p50, p99, p999 = (round(float(p), 4) for p in np.percentile(seconds, (50, 99, 99.9)))
    return {"p50": p50, "p99": p99, "p999": p999, "max": round(max(seconds), 4)}


def photograph(side: int) -> bytes:
    """Return a JPEG of side x side pixels with clouds and some grain."""
    rng = np.random.default_rng(side)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    clouds = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    grain = np.asarray(clouds) + rng.normal(0, 8, (side, side, 3))
    out = io.BytesIO()
    Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
    return out.getvalue()


async def _run(load: Load, phases: Sequence[tuple[float, float]], rng: Random | None) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.stop)
    print("started", flush=True)
    await load.run(phases, rng)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="tests.tools.load", description="An open-loop load generator."
    )
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, nargs="+", required=True, help="requests a second")
    parser.add_argument(
        "--seconds", type=float, nargs="+", required=True, help="duration of each rate"
    )
    parser.add_argument(
        "--sides", type=int, nargs="*", default=[], help="of the JPEGs to POST, in pixels"
    )
    parser.add_argument("--poisson", type=int, metavar="SEED", help="send at random times")
    parser.add_argument(
        "--fresh", action="store_true", help="use a new connection for each request"
    )
    parser.add_argument("--timeout", type=float, default=60, help="seconds to wait for a response")
    options = parser.parse_args(arguments)
    phases = list(zip(options.rate, options.seconds, strict=True))
    bodies = [photograph(side) for side in options.sides]
    load = Load(options.url, bodies, options.timeout, options.fresh)
    rng = None if options.poisson is None else Random(options.poisson)
    gc.disable()  # its pauses would be attributed to the server
    asyncio.run(_run(load, phases, rng))
    print(json.dumps(report(load.outcomes, phases)))  # a second line, after "started"
    return 0


if __name__ == "__main__":
    sys.exit(main())
