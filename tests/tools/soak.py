"""Soak tests: the server under load, over time, during restarts and under attack.

`python -m tests.tools.soak [PART...]` runs all parts, or those you name. Each part starts servers,
loads them from another process (tests/tools/load.py) and prints what it measured with its limit.
The exit status is 1 if a measurement exceeds its limit.
"""

import argparse
import io
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from app.errors import PasticheError
from app.pixels.canvas import Finish, canvas_size
from app.pixels.images import read_header, read_pixels
from tests.tools import fuzz
from tests.tools.gateway import gateway
from tests.tools.hostile_images import ACCEPTED_FILES, CAP, REFUSED_FILES
from tests.tools.image_files import LINEAR, chunk, grey_by_table, png_header, red_for_cyan
from tests.tools.load import ACCEPTED, NO_CONNECTION, REFUSED, RESET, TIMEOUT, Report, photograph
from tests.tools.repository import ROOT
from tests.tools.servers import ServerProcess, readiness, server_process

MB, MIB = 1_000_000, 2**20
SIDE = 128  # pixels; of the pictures for stand-in networks
CALM_PHASES = 5  # before and after a flood
SETTLING_SECONDS = 5  # after a flood, until everything must be as before
PROBE_RATE = 20  # requests per second to /healthz during an attack


@dataclass(frozen=True)
class Line:
    """A measurement and its limit."""

    what: str
    limit: str
    measured: str
    good: bool


def at_most(what: str, measured: float, limit: float, unit: str = "") -> Line:
    return Line(what, f"<= {limit:.4g}{unit}", f"{measured:.4g}{unit}", measured <= limit)


def at_least(what: str, measured: float, limit: float, unit: str = "") -> Line:
    return Line(what, f">= {limit:.4g}{unit}", f"{measured:.4g}{unit}", measured >= limit)


Phases = Sequence[tuple[float, float]]  # (rate, seconds) of each


class Attack:
    """The load generator in a process of its own."""

    def __init__(self, port: int, path: str, phases: Phases, *arguments: str) -> None:
        rates, seconds = zip(*phases, strict=True)
        command = [sys.executable, "-m", "tests.tools.load"]
        command += [f"http://127.0.0.1:{port}{path}", "--rate", *map(str, rates)]
        command += ["--seconds", *map(str, seconds), *arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        # Before it has started, a signal to stop would kill it.
        if self._process.stdout.readline() != "started\n":
            raise RuntimeError("the load generator did not start")

    def stop(self) -> None:
        """Send no more requests."""
        self._process.terminate()

    def is_over(self) -> bool:
        """Whether all requests have been sent and answered."""
        return self._process.poll() is not None

    def reports(self) -> list[Report]:
        """Wait until the attack is over, and return a report for each phase."""
        out, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError("the load generator failed")
        reports: list[Report] = json.loads(out)
        return reports


def stylize_load(
    port: int, style: str, phases: Phases, sides: Sequence[int] = (SIDE,), *arguments: str
) -> Attack:
    """Load /stylize with photographs that have these sides."""
    path = f"/stylize?style={style}"
    return Attack(port, path, phases, "--sides", *map(str, sides), *arguments)


def count(reports: Sequence[Report], *statuses: int | str) -> int:
    return sum(report["statuses"].get(str(s), 0) for report in reports for s in statuses)


def p99(report: Report, which: str) -> float:
    """Return the 99th percentile in seconds; infinity without any responses."""
    seconds: float = report[which].get("p99", math.inf)
    return seconds


def median_latency(reports: Sequence[Report], which: str) -> float:
    """Return the median over phases of their `p99` or `p50`, in seconds."""
    seconds: float = median(report["accepted"].get(which, math.inf) for report in reports)
    return seconds


def first_style(server: ServerProcess) -> str:
    style: str = json.loads(server.get("/styles"))["styles"][0]["id"]
    return style


@dataclass(frozen=True)
class Flood:
    """The length of a flood's phases in seconds, and a factor that loosens the limits."""

    seconds: float
    calm: float
    slack: float = 1.0


def flood(
    folder: Path, models: Path, flood: Flood, service: float, side: int, length: int, real: bool
) -> Iterator[Line]:
    """Load a server through nginx with 4 and 10 times its capacity.

    service: seconds per picture, an estimate for a real network; length: of the queue, in pictures.
    """
    pixels = side * side
    settings: dict[str, object] = {"models": models, "queue_pixels": length * pixels}
    if real:  # one thread, to leave a core for the generator, nginx and the event loop
        settings |= {"device": "auto", "threads": 1}
    else:
        settings["batch_pixels"] = 4 * pixels
    per_pixel = 0 if real else service / pixels
    with (
        server_process(folder / "server.log", seconds_per_pixel=per_pixel, **settings) as server,
        gateway(folder, server.port) as connection,
    ):
        style = first_style(server)
        if real:  # measure it, with all other processes running
            full = [(2 / service, 10.0), (2 / service, flood.seconds)]
            reports = stylize_load(connection.port, style, full, (side,)).reports()
            service = 1 / reports[1]["goodput"]
        capacity = 1 / service
        calm, gap = (
            [(capacity / 2, flood.calm)] * CALM_PHASES,
            (capacity / 2, float(SETTLING_SECONDS)),
        )
        steady = (1.5 * capacity, flood.seconds)
        phases = [*calm, steady, gap]
        for times in (4, 10):
            phases += [(times * capacity, flood.seconds), gap, *calm]
        reports = stylize_load(connection.port, style, phases, (side,)).reports()
    before, rest = reports[:CALM_PHASES], reports[CALM_PHASES + 2 :]
    floods = {4: rest[0], 10: rest[CALM_PHASES + 2]}
    after = {4: rest[2 : CALM_PHASES + 2], 10: rest[CALM_PHASES + 4 :]}
    peak = max(report["goodput"] for report in reports)
    yield Line("peak goodput", "-", f"{peak:.3g} pictures/s at {service:.3g} s each", True)
    spread = " ".join(f"{p99(report, 'accepted'):.3g}" for report in before)
    yield Line("p99 of the calm phases before the floods", "-", f"{spread} s", True)
    for times, report in floods.items():
        at = f"at {times}x, {report['sent']} requests: "
        slack = flood.slack
        yield at_least(f"{at}goodput / peak", report["goodput"] / peak, 0.95 / slack)
        bound = length * service
        accepted = p99(report, "accepted") / bound
        yield at_most(f"{at}p99 accepted / ({bound:.3g} s)", accepted, 1.25 * slack)
        refused = p99(report, "refused")
        yield at_most(
            f"{at}p99 of {count([report], REFUSED)} refusals", refused, 0.05 * slack, " s"
        )
        yield at_most(f"{at}503 without Retry-After", report["without_retry_after"], 0)
        others = report["sent"] - count([report], ACCEPTED, REFUSED)
        yield at_most(f"{at}neither 200 nor 503, resets", others, 0)
        # The median over several phases, because another process may disturb any one of them.
        for which in ("p99", "p50"):
            again = median_latency(after[times], which) / median_latency(before, which)
            yield at_most(f"{at}{which} {SETTLING_SECONDS} s after / before", again, 1.1 * slack)
    yield Line("p99 lateness of the generator", "-", f"{floods[10]['late']['p99']} s", True)
    calms = [*before, *after[4], *after[10]]
    yield at_most(
        "not 200 in the calm phases",
        sum(r["sent"] for r in calms) - count(calms, ACCEPTED),
        0,
    )


def leaving(folder: Path, models: Path, times: int, service: float) -> Iterator[Line]:
    """Disconnect clients while their picture is queued, and while its batch is running.

    service: seconds per picture, within which four requests must reach the server.
    """
    dropped = unharmed = 0
    with server_process(
        folder / "server.log",
        seconds_per_pixel=service / SIDE**2,
        models=models,
        batch_pixels=2 * SIDE**2,
    ) as server:
        target = f"/stylize?style={first_style(server)}"

        def call(name: str, side: int = SIDE) -> socket.socket:
            body = photograph(side)
            head = f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\n"
            head += f"Content-Length: {len(body)}\r\nX-Request-ID: {name}\r\n\r\n"
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
            connection.sendall(head.encode() + body)
            return connection

        def admitted(pictures: float) -> bool:
            for _ in range(200):
                if server.metric("pastiche_admitted_pixels") == pictures * SIDE**2:
                    return True
                time.sleep(0.01)
            return False

        def good(connection: socket.socket) -> bool:
            with connection:
                return connection.recv(12) == b"HTTP/1.1 200"

        for i in range(times):
            painted = server.metric("pastiche_batch_size_sum")
            first = call(f"first-{i}")
            admitted(1)
            time.sleep(service / 5)  # it is running; the next two are queued and form a batch
            mate, leaver = call(f"mate-{i}"), call(f"batch-leaver-{i}")
            waiting = call(f"leaver-{i}", SIDE // 2)
            full = admitted(3.25)
            waiting.close()
            dropped += full and admitted(3)
            unharmed += good(first)
            time.sleep(service / 5)  # the batch of two is running
            leaver.close()
            unharmed += good(mate)
            admitted(0)
            dropped += server.metric("pastiche_batch_size_sum") - painted == 3
        logged = [line for line in server.access_log() if "leaver" in line["request_id"]]
    yield at_least("removed from the queue on disconnect, never painted", dropped, 2 * times)
    yield at_least("answered 200 in a batch with a disconnected client", unharmed, 2 * times)
    statuses = [line["status"] for line in logged]
    yield at_least("logged as 499", statuses.count(499), 2 * times)


def stopping(folder: Path, models: Path, times: int) -> Iterator[Line]:
    """Stop a server at twice its capacity, without a gateway."""
    answered = lost = unready = logged = 0
    service, rate = 0.05, 40.0
    log = folder / "server.log"
    for i in range(times):
        settings = {"models": models, "queue_pixels": 20 * SIDE**2, "shutdown_delay": 0.5}
        log.unlink(missing_ok=True)
        with server_process(log, seconds_per_pixel=service / SIDE**2, **settings) as server:
            style = first_style(server)
            attack = stylize_load(server.port, style, [(rate, 3.0)], (SIDE,), "--fresh")
            while not attack.is_over() and server.metric("pastiche_admitted_pixels") < 10 * SIDE**2:
                time.sleep(0.05)
            server.process.terminate()
            time.sleep(0.1)
            unready += readiness(server.port)["status"] == "draining"
            reports = attack.reports()
            server.process.wait(60)
        answered += count(reports, ACCEPTED)
        lost += count(reports, RESET, TIMEOUT)
        lines = [line for line in server.access_log() if line["route"] == "/stylize"]
        logged += sum(line["status"] == ACCEPTED for line in lines)
        print(f"stop {i + 1}: {reports[0]['statuses']}", file=sys.stderr)
        if not count(reports, NO_CONNECTION):
            raise RuntimeError("the load ended before the server did")
    yield at_least("not ready before the port closes", unready, times)
    yield at_most(f"requests lost, with {answered} answered 200", lost, 0)
    yield at_most("logged as 200, but not received", logged - answered, 0)


def restarting(
    folder: Path, models: Path, times: int, requests: int, rate: float
) -> Iterator[Line]:
    """Restart two servers behind nginx in turn under load, at least `times` times."""
    with ExitStack() as stack:
        # The delay is longer than nginx avoids a server that has restarted (fail_timeout).
        settings = {
            "seconds_per_pixel": 0.005 / SIDE**2,
            "models": models,
            "shutdown_delay": 3,
        }
        servers = [
            stack.enter_context(server_process(folder / f"server{i}.log", **settings))
            for i in range(2)
        ]
        ports = (server.port for server in servers)
        connection = stack.enter_context(gateway(folder, *ports))
        attack = stylize_load(connection.port, first_style(servers[0]), [(rate, 3600.0)])
        began, done = time.monotonic(), 0
        while done < times or (time.monotonic() - began) * rate < requests:
            for server in servers:
                server.stop()
                server.start()
            done += 1
        attack.stop()
        reports = attack.reports()
    sent = sum(report["sent"] for report in reports)
    yield at_least(f"requests during {done} rolling restarts", sent, 0.9 * requests)
    others = {s: n for s, n in reports[0]["statuses"].items() if s != str(ACCEPTED)}
    yield at_most(f"requests not answered 200 {others or ''}".rstrip(), sum(others.values()), 0)


def growth(
    folder: Path, models: Path, requests: int, rate: float, sides: Sequence[int], **more: float
) -> tuple[int, Report]:
    """Return the bytes by which a server's memory grows over `requests` requests, and a report.

    A warm-up comes first: ten times the rate, to paint the largest batches, then a tenth of the
    requests.
    """
    with server_process(folder / "server.log", models=models, **more) as server:
        style = first_style(server)
        warm_up = [(10 * rate, 20.0), (rate, requests / 10 / rate)]
        stylize_load(server.port, style, warm_up, sides).reports()
        before = server.resident_bytes()
        (report,) = stylize_load(server.port, style, [(rate, requests / rate)], sides).reports()
        return server.resident_bytes() - before, report


def memory(folder: Path, models: Path, requests: int, rate: float) -> Iterator[Line]:
    """Paint pictures of many sizes with a real network; the control leaks 8 KiB per request."""
    sides = (32, 100, 48, 128, 36, 80, 24, 160, 64, 28)
    limit = 32 * requests / 10_000
    grown, report = growth(folder, models, requests, rate, sides)
    answered = count([report], ACCEPTED)
    yield at_least(
        f"answered 200 at {rate:g}/s, of {report['sent']}", answered, 0.9 * report["sent"]
    )
    yield at_most(f"growth over {report['sent']} requests", grown / MB, limit, " MB")
    grown, _ = growth(folder, models, requests, 60, sides, seconds_per_pixel=1e-9, leak=8192)
    yield at_least("growth of the control that leaks", grown / MB, limit, " MB")


def refusing(folder: Path, models: Path, requests: int, rate: float) -> Iterator[Line]:
    """Send requests that a full queue refuses; the control leaks 4 KiB per request."""
    limit = requests / 1000
    for leak in (0, 4096):
        grown, report = refused_growth(folder, models, requests, rate, leak)
        if leak:
            yield at_least("growth of the control that leaks", grown / MIB, limit, " MiB")
        else:
            refused = count([report], REFUSED)
            yield at_least(f"refused, of {report['sent']}", refused, report["sent"])
            yield at_most("growth over these requests", grown / MIB, limit, " MiB")


def refused_growth(
    folder: Path, models: Path, requests: int, rate: float, leak: int
) -> tuple[int, Report]:
    """Return the bytes by which memory grows over refused requests, and a report of them."""
    phases = [(rate, requests / rate)]
    with server_process(
        folder / "server.log",
        seconds_per_pixel=600 / 256**2,
        models=models,
        queue_pixels=256**2,
        leak=leak,
    ) as server:
        style = first_style(server)
        blocking = threading.Thread(
            target=lambda: stylize_load(server.port, style, [(1, 0.5)], (256,)).reports(),
            daemon=True,
        )
        blocking.start()  # a picture that takes ten minutes
        while not server.metric("pastiche_admitted_pixels"):
            time.sleep(0.05)
        stylize_load(server.port, style, phases).reports()
        before = server.resident_bytes()
        (report,) = stylize_load(server.port, style, phases).reports()
        return server.resident_bytes() - before, report


def slow(folder: Path, models: Path, connections: int, seconds: float) -> Iterator[Line]:
    """Send headers and bodies byte by byte, and measure the effect on other clients."""
    service, header = 0.02, b"POST /stylize?style=a HTTP/1.1\r\nHost: a\r\n"
    body = header + b"Content-Type: image/png\r\nContent-Length: 33554432\r\n\r\n"
    settings = {"models": models, "header_seconds": 600, "body_seconds": 600}
    settings["connections"] = 2 * connections
    with (
        server_process(
            folder / "server.log", seconds_per_pixel=service / SIDE**2, **settings
        ) as server,
        ExitStack() as stack,
    ):
        style = first_style(server)

        def others() -> Report:
            return stylize_load(server.port, style, [(0.5 / service, seconds)]).reports()[0]

        before = others()
        sockets = []
        for number in range(connections):
            address = ("127.0.0.1", server.port)
            sockets.append(stack.enter_context(socket.create_connection(address)))
            sockets[-1].sendall((header, body)[number % 2])
        over = threading.Event()

        def drip() -> None:
            while not over.wait(1):
                for one in sockets:
                    one.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        during = others()
        over.set()
        dripping.join()
    ratio = p99(during, "accepted") / p99(before, "accepted")
    yield at_most(f"p99 of other clients with {connections} slow connections / without", ratio, 2)
    bad = before["sent"] + during["sent"] - count([before, during], ACCEPTED)
    yield at_most("other requests not answered 200", bad, 0)


def hostile(
    folder: Path, models: Path, requests: int, parallel: int, slack: float = 1
) -> Iterator[Line]:
    """Send all hostile requests, directly and through nginx, while probing /healthz.

    requests: hostile requests each way; parallel: their connections; slack: loosens the limits.
    """
    with (
        server_process(folder / "server.log", models=models) as server,
        gateway(folder, server.port) as connection,
    ):
        calm_phases = [(PROBE_RATE, max(5.0, requests / 100))]
        (calm,) = Attack(server.port, "/healthz", calm_phases, "--fresh").reports()
        baseline = calm["accepted"]["p999"]
        yield Line("p99.9 of /healthz without hostile requests", "-", f"{baseline} s", True)
        send_hostile(server.port, requests // 10, parallel)  # warm-up
        for way, port in (("directly", server.port), ("through nginx", connection.port)):
            before, cpu_before = server.resident_bytes(), server.cpu_seconds()
            probes = Attack(server.port, "/healthz", [(PROBE_RATE, 3600.0)], "--fresh")
            statuses = send_hostile(port, requests, parallel)
            cpu = (server.cpu_seconds() - cpu_before) / requests
            probes.stop()
            (report,) = probes.reports()
            grown = server.resident_bytes() - before
            where = f"{requests} hostile requests {way}"
            shown = dict(sorted(statuses.items()))
            yield Line(f"{where}: statuses", "-", str(shown).strip("{}"), True)
            broken = sum(statuses[s] for s in ("500", "501", "502", "504", "timeout"))
            yield at_most(f"{where}: failed", broken, 0)
            sent, failed = report["sent"], report["sent"] - count([report], ACCEPTED)
            yield at_most(f"{where}: /healthz not answered 200, of {sent}", failed, 0)
            latency = report["accepted"].get("p999", math.inf)
            yield at_most(f"{where}: p99.9 of /healthz", latency, 0.1 * slack, " s")
            late = report["late"].get("p999", math.inf)
            yield Line(f"{where}: p99.9 lateness of the probes", "-", f"{late} s", True)
            yield at_most(f"{where}: CPU time per request", cpu, 0.02, " s")
            yield at_most(f"{where}: growth of memory", grown / MB, 32, " MB")


def send_hostile(port: int, requests: int, parallel: int) -> Counter[str]:
    """Send hostile requests from another process, and count the statuses."""
    command = [sys.executable, "-m", "tests.tools.hostile", str(port)]
    command += ["--requests", str(requests), "--parallel", str(parallel)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return Counter(json.loads(done.stdout))


def cost(content: bytes, strength: float = 1.0) -> tuple[float, bool]:
    """Return the CPU seconds to decode a file, the least of three runs, and whether it succeeds."""
    finish = Finish(strength)
    seconds, accepted = math.inf, True
    for _ in range(3):
        began = time.thread_time()
        try:
            still = read_header(content, CAP)
            size = canvas_size(*still.size, finish.size)
            read_pixels(still, None if finish.shows_photo else size)
        except PasticheError:
            accepted = False
        seconds = min(seconds, time.thread_time() - began)
    return seconds, accepted


def largest() -> Iterator[tuple[str, bytes]]:
    """Yield the most expensive files: of the most pixels, with as much noise as a body may have."""
    rng, side = np.random.default_rng(0), math.isqrt(CAP)
    noise = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    calm = (noise // 96 + np.arange(side, dtype=np.uint8)[:, None] // 2).astype(np.uint8)
    for format, image, options in (
        ("JPEG", noise, {"quality": 90}),
        ("JPEG", noise, {"quality": 65, "progressive": True}),
        ("PNG", calm, {"compress_level": 1}),
        ("WEBP", noise, {"quality": 10, "method": 0}),
        ("WEBP", calm, {"lossless": True, "method": 0}),
        ("AVIF", noise, {"quality": 50, "speed": 10}),
        ("TIFF", calm, {"compression": "tiff_lzw"}),
    ):
        out = io.BytesIO()
        Image.fromarray(image).save(out, format, **options)
        kind = " ".join([format, *(name for name, value in options.items() if value is True)])
        yield kind, out.getvalue()
    rows = np.concatenate([np.zeros((side, 1), np.uint8), calm.reshape(side, -1)], axis=1)
    pixels = chunk(b"IDAT", zlib.compress(rows[:-1].tobytes(), 1))
    cut = png_header(side, side).replace(chunk(b"IDAT", b""), pixels)
    yield "PNG without its last row", cut


def coloured() -> Iterator[tuple[str, bytes, float]]:
    """Yield JPEGs of the most pixels that need a colour conversion, with their limit in seconds.

    The limit is for the CPU time at full size. Noise costs most: all its pixels differ.
    """
    rng, side = np.random.default_rng(0), math.isqrt(CAP)
    noise = rng.integers(0, 256, (side, side, 4), dtype=np.uint8)
    inks = Image.fromarray(noise, "CMYK")
    light = Image.fromarray(np.ascontiguousarray(noise[..., :3]))
    for kind, image, quality, profile, limit in (
        ("CMYK JPEG", inks, 30, None, 1.5),
        ("CMYK JPEG with a profile", inks, 30, red_for_cyan(), 4.0),
        ("JPEG with a profile of a lookup table", light, 90, grey_by_table(), 3.0),
        ("JPEG with a profile of curves and a matrix", light, 90, LINEAR, 2.0),
    ):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality, icc_profile=profile)
        yield kind, out.getvalue(), limit


def files() -> Iterator[Line]:
    """Measure the CPU time of one thread for decoding or rejecting files."""
    refused = [cost(content) for content, _ in REFUSED_FILES]
    yield at_most(f"hostile files accepted, of {len(refused)}", sum(ok for _, ok in refused), 0)
    yield at_most("CPU of the most expensive one", max(s for s, _ in refused), 0.25, " s")
    accepted = [cost(content) for content in ACCEPTED_FILES]
    sound = sum(ok for _, ok in accepted)
    yield at_least(f"files with much metadata accepted, of {len(accepted)}", sound, len(accepted))
    yield at_most("CPU of the most expensive one", max(s for s, _ in accepted), 1, " s")
    for kind, content in largest():
        seconds, ok = cost(content)
        verdict = "accepted" if ok else "refused"
        what = f"{kind} of {CAP / 1e6:.0f} MP, {len(content) / MB:.0f} MB, {verdict}: CPU"
        yield at_most(what, seconds, 1, " s")
    for kind, content, limit in coloured():
        what = f"{kind} of {CAP / 1e6:.0f} MP, {len(content) / MB:.0f} MB: CPU"
        seconds, _ = cost(content)
        yield at_most(what, seconds, limit if "matrix" in kind else 1, " s")
        seconds, _ = cost(content, strength=0.5)
        yield at_most(f"{what} with strength 0.5", seconds, limit, " s")


def fuzzed(images: int, requests: int) -> Iterator[Line]:
    """Decode damaged images, and send malformed requests to a server."""
    broken = fuzz.images(images, 0, os.cpu_count() or 1)
    yield at_most(f"of {images} damaged images, neither decoded nor rejected", broken, 0)
    sent = fuzz.requests(requests, 0)  # raises if the server fails
    yield at_least("requests without a 500, the server unchanged", sent, requests)


Part = Callable[[Path, Path], Iterator[Line]]


def parts(bundled: Path) -> dict[str, Part]:
    """Return the long form of every part, by name.

    Each takes a folder to write to and a models folder with a tiny network.
    """
    return {
        "flood": lambda f, m: flood(f, m, Flood(20, 12), 0.05, SIDE, 40, real=False),
        "flood-real": lambda f, _: flood(f, bundled, Flood(30, 40), 0.25, 256, 8, real=True),
        "leaving": lambda f, m: leaving(f, m, 20, 0.5),
        "stopping": lambda f, m: stopping(f, m, 50),
        "restarting": lambda f, m: restarting(f, m, 20, 11_000, 60),
        "memory": lambda f, _: memory(f, bundled, 10_000, 25),
        "refusing": lambda f, m: refusing(f, m, 1000, 50),
        "slow": lambda f, m: slow(f, m, 500, 30),
        "hostile": lambda f, m: hostile(f, m, 10_000, 16),
        "files": lambda f, m: files(),
        "fuzz": lambda f, m: fuzzed(1_000_000, 20_000),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts. Return 0 if every measurement is within its limit."""
    from tests.conftest import make_folder

    known = parts(ROOT / "models")
    parser = argparse.ArgumentParser(prog="tests.tools.soak")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(known)}")
    wanted = parser.parse_args(arguments).parts or list(known)
    if unknown := set(wanted) - set(known):
        parser.error(f"unknown part {', '.join(unknown)}; choose from {', '.join(known)}")
    bad = 0
    print("| part | what | limit | measured | |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        make_folder(Path(name) / "models" / "tiny")
        for part in wanted:
            folder = Path(name) / part
            folder.mkdir()
            for line in known[part](folder, Path(name) / "models"):
                bad += not line.good
                verdict = "pass" if line.good else "FAIL"
                print(f"| {part} | {line.what} | {line.limit} | {line.measured} | {verdict} |")
                sys.stdout.flush()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
