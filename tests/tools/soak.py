"""The server under load, over time and while it is stopped: `python -m tests.tools.soak [PART...]`.

Each part starts servers, loads them from another process (tests/tools/load.py), and gives lines:
what was looked at, its limit, what was measured. Fails if a line is beyond its limit.
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
from tests.system.test_deployment import ROOT, gateway
from tests.tools import fuzz
from tests.tools.hostile_images import ACCEPTED_FILES, CAP, REFUSED_FILES
from tests.tools.image_files import LINEAR, chunk, grey_by_table, png_header, red_for_cyan
from tests.tools.load import ACCEPTED, NO_CONNECTION, REFUSED, RESET, TIMEOUT, Report, photograph
from tests.tools.standin import Server, serving

MB, MIB = 1_000_000, 2**20
SIDE = 128  # pixels of the pictures for stand-in networks
CALMS = 5  # calm phases before and after a flood
SETTLED = 5  # seconds after a flood in which all must be as before


@dataclass(frozen=True)
class Line:
    """One thing that was looked at."""

    what: str
    limit: str
    measured: str
    good: bool


def at_most(what: str, measured: float, limit: float, unit: str = "") -> Line:
    return Line(what, f"<= {limit:.4g}{unit}", f"{measured:.4g}{unit}", measured <= limit)


def at_least(what: str, measured: float, limit: float, unit: str = "") -> Line:
    return Line(what, f">= {limit:.4g}{unit}", f"{measured:.4g}{unit}", measured >= limit)


class Attack:
    """The load generator at work on a server's port."""

    def __init__(
        self,
        port: int,
        style: str,
        phases: Sequence[tuple[float, float]],
        sides: Sequence[int] = (SIDE,),
        *more: str,
    ) -> None:
        rates, seconds = zip(*phases, strict=True)
        command = [sys.executable, "-m", "tests.tools.load"]
        command += [f"http://127.0.0.1:{port}/stylize?style={style}", "--rate", *map(str, rates)]
        command += ["--seconds", *map(str, seconds), "--sides", *map(str, sides), *more]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def stop(self) -> None:
        """Send nothing more."""
        self._process.terminate()

    def over(self) -> bool:
        return self._process.poll() is not None

    def reports(self) -> list[Report]:
        """Of each phase, when all is over."""
        out, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError("the load generator failed")
        reports: list[Report] = json.loads(out)
        return reports


def count(reports: Sequence[Report], *statuses: int | str) -> int:
    return sum(report["statuses"].get(str(s), 0) for report in reports for s in statuses)


def p99(report: Report, which: str) -> float:
    """Seconds; without end where there was none."""
    seconds: float = report[which].get("p99", math.inf)
    return seconds


def middle(reports: Sequence[Report], which: str) -> float:
    """Seconds to answer, the median over phases of their `p99` or `p50`; without end if none."""
    seconds: float = median(report["accepted"].get(which, math.inf) for report in reports)
    return seconds


def first_style(server: Server) -> str:
    style: str = json.loads(server.get("/styles"))["styles"][0]["id"]
    return style


@dataclass(frozen=True)
class Flood:
    """A flood: how long its phases last, and how strictly it is judged (1 as promised)."""

    seconds: float
    calm: float
    slack: float = 1.0


def flood(
    folder: Path, models: Path, flood: Flood, service: float, side: int, length: int, real: bool
) -> Iterator[Line]:
    """4 and 10 times the capacity, through nginx; service: seconds of one picture, at a guess
    for a real network; length: of the queue, in pictures.
    """
    pixels = side * side
    settings: dict[str, object] = {"models": models, "queue_pixels": length * pixels}
    if real:  # one thread, so that generator, nginx and event loop do not slow down the inference
        settings |= {"device": "auto", "threads": 1}
    else:
        settings["batch_pixels"] = 4 * pixels
    per_pixel = 0 if real else service / pixels
    with (
        serving(folder / "server.log", per_pixel, **settings) as server,
        gateway(folder, server.port) as connection,
    ):
        style = first_style(server)
        if real:  # what it takes here, all else at work too
            full = [(2 / service, 10.0), (2 / service, flood.seconds)]
            service = 1 / Attack(connection.port, style, full, (side,)).reports()[1]["goodput"]
        capacity = 1 / service
        calm, gap = [(capacity / 2, flood.calm)] * CALMS, (capacity / 2, float(SETTLED))
        steady = (1.5 * capacity, flood.seconds)
        phases = [*calm, steady, gap]
        for times in (4, 10):
            phases += [(times * capacity, flood.seconds), gap, *calm]
        reports = Attack(connection.port, style, phases, (side,)).reports()
    before, rest = reports[:CALMS], reports[CALMS + 2 :]
    floods = {4: rest[0], 10: rest[CALMS + 2]}
    after = {4: rest[2 : CALMS + 2], 10: rest[CALMS + 4 :]}
    peak = max(report["goodput"] for report in reports)
    yield Line("peak goodput", "-", f"{peak:.3g} pictures/s of {service:.3g} s each", True)
    spread = " ".join(f"{p99(report, 'accepted'):.3g}" for report in before)
    yield Line("p99 of the calm phases before any flood", "-", f"{spread} s", True)
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
        # The median of some phases: in any one the machine may have a bad moment, flood or not.
        for which in ("p99", "p50"):
            again = middle(after[times], which) / middle(before, which)
            yield at_most(f"{at}{which} {SETTLED} s after / before", again, 1.1 * slack)
    yield Line("p99 lateness of the generator", "-", f"{floods[10]['late']['p99']} s", True)
    calms = [*before, *after[4], *after[10]]
    yield at_most(
        "not 200 when calm",
        sum(r["sent"] for r in calms) - count(calms, ACCEPTED),
        0,
    )


def leaving(folder: Path, models: Path, times: int, service: float) -> Iterator[Line]:
    """Callers who leave: one whose picture waits, one whose batch has begun.

    service: seconds of a picture, in which four of them must reach the server.
    """
    dropped = unharmed = 0
    with serving(
        folder / "server.log", service / SIDE**2, models=models, batch_pixels=2 * SIDE**2
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
            time.sleep(service / 5)  # it is begun; the next two wait, and are one batch
            mate, leaver = call(f"mate-{i}"), call(f"batch-leaver-{i}")
            waiting = call(f"leaver-{i}", SIDE // 2)
            full = admitted(3.25)
            waiting.close()
            dropped += full and admitted(3)
            unharmed += good(first)
            time.sleep(service / 5)  # the batch of two has begun
            leaver.close()
            unharmed += good(mate)
            admitted(0)
            dropped += server.metric("pastiche_batch_size_sum") - painted == 3
        logged = [line for line in server.requests() if "leaver" in line["request_id"]]
    yield at_least("left the queue at once, and never painted", dropped, 2 * times)
    yield at_least("answered 200 beside one who left", unharmed, 2 * times)
    statuses = [line["status"] for line in logged]
    yield at_least("logged as 499", statuses.count(499), 2 * times)


def stopping(folder: Path, models: Path, times: int) -> Iterator[Line]:
    """SIGTERM under twice the load that the server can take, seen without a gateway."""
    answered = lost = unready = logged = 0
    service, rate = 0.05, 40.0
    log = folder / "server.log"
    for i in range(times):
        settings = {"models": models, "queue_pixels": 20 * SIDE**2, "shutdown_delay": 0.5}
        log.unlink(missing_ok=True)
        with serving(log, service / SIDE**2, **settings) as server:
            attack = Attack(server.port, first_style(server), [(rate, 3.0)], (SIDE,), "--fresh")
            while not attack.over() and server.metric("pastiche_admitted_pixels") < 10 * SIDE**2:
                time.sleep(0.05)
            server.process.terminate()
            time.sleep(0.1)
            unready += server.readiness() == "draining"
            reports = attack.reports()
            server.process.wait(60)
        answered += count(reports, ACCEPTED)
        lost += count(reports, RESET, TIMEOUT)
        lines = [line for line in server.requests() if line["route"] == "/stylize"]
        logged += sum(line["status"] == ACCEPTED for line in lines)
        print(f"stop {i + 1}: {reports[0]['statuses']}", file=sys.stderr)
        if not count(reports, NO_CONNECTION):
            raise RuntimeError("the load ended before the server did")
    yield at_least("readiness is down first", unready, times)
    yield at_most(f"connections without an answer, beside {answered} accepted", lost, 0)
    yield at_most("accepted as the log has it, but not answered", logged - answered, 0)


def restarting(
    folder: Path, models: Path, times: int, requests: int, rate: float
) -> Iterator[Line]:
    """Two servers behind nginx, restarted in turn under load, so often and for so many requests."""
    with ExitStack() as stack:
        # Longer than nginx passes over a server that has come back: fail_timeout, to full seconds.
        settings = {"models": models, "shutdown_delay": 3}
        servers = [
            stack.enter_context(serving(folder / f"server{i}.log", 0.005 / SIDE**2, **settings))
            for i in range(2)
        ]
        ports = (server.port for server in servers)
        connection = stack.enter_context(gateway(folder, *ports))
        attack = Attack(connection.port, first_style(servers[0]), [(rate, 3600.0)])
        began, done = time.monotonic(), 0
        while done < times or (time.monotonic() - began) * rate < requests:
            for server in servers:
                server.stop()
                server.start()
            done += 1
        attack.stop()
        reports = attack.reports()
    sent = sum(report["sent"] for report in reports)
    yield at_least(f"requests in {done} rolling restarts", sent, 0.9 * requests)
    others = {s: n for s, n in reports[0]["statuses"].items() if s != str(ACCEPTED)}
    yield at_most(f"of them not answered 200 {others or ''}".rstrip(), sum(others.values()), 0)


def growth(
    folder: Path, models: Path, requests: int, rate: float, sides: Sequence[int], **more: float
) -> tuple[int, Report]:
    """How much memory a server takes more after so many requests, in bytes, after a tenth.

    Before, at ten times the rate for a while, so that the largest batches have been painted.
    """
    with serving(folder / "server.log", models=models, **more) as server:
        style = first_style(server)
        warm_up = [(10 * rate, 20.0), (rate, requests / 10 / rate)]
        Attack(server.port, style, warm_up, sides).reports()
        before = server.resident()
        (report,) = Attack(server.port, style, [(rate, requests / rate)], sides).reports()
        return server.resident() - before, report


def memory(folder: Path, models: Path, requests: int, rate: float) -> Iterator[Line]:
    """Pictures of many sizes, on a real network; the control keeps 8 KiB of each request."""
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
    """Requests that a full queue refuses; the control keeps 4 KiB of each."""
    limit = requests / 1000
    for leak in (0, 4096):
        grown, report = refused_growth(folder, models, requests, rate, leak)
        if leak:
            yield at_least("growth of the control that leaks", grown / MIB, limit, " MiB")
        else:
            refused = count([report], REFUSED)
            yield at_least(f"refused, of {report['sent']}", refused, report["sent"])
            yield at_most("growth over them", grown / MIB, limit, " MiB")


def refused_growth(
    folder: Path, models: Path, requests: int, rate: float, leak: int
) -> tuple[int, Report]:
    with serving(
        folder / "server.log", 600 / 256**2, models=models, queue_pixels=256**2, leak=leak
    ) as server:
        style = first_style(server)
        blocking = threading.Thread(
            target=lambda: Attack(server.port, style, [(1, 0.5)], (256,)).reports(), daemon=True
        )
        blocking.start()  # a picture of ten minutes
        while not server.metric("pastiche_admitted_pixels"):
            time.sleep(0.05)
        Attack(server.port, style, [(rate, requests / rate)]).reports()
        before = server.resident()
        (report,) = Attack(server.port, style, [(rate, requests / rate)]).reports()
        return server.resident() - before, report


def slow(folder: Path, models: Path, connections: int, seconds: float) -> Iterator[Line]:
    """Connections on which a header or a body comes byte by byte, and what others notice."""
    service, header = 0.02, b"POST /stylize?style=a HTTP/1.1\r\nHost: a\r\n"
    body = header + b"Content-Type: image/png\r\nContent-Length: 33554432\r\n\r\n"
    settings = {"models": models, "header_seconds": 600, "body_seconds": 600}
    settings["connections"] = 2 * connections
    with serving(folder / "server.log", service / SIDE**2, **settings) as server, ExitStack() as ex:
        style = first_style(server)

        def others() -> Report:
            return Attack(server.port, style, [(0.5 / service, seconds)]).reports()[0]

        before = others()
        sockets = []
        for number in range(connections):
            address = ("127.0.0.1", server.port)
            sockets.append(ex.enter_context(socket.create_connection(address)))
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
    yield at_most(f"p99 of others beside {connections} slow connections / without", ratio, 2)
    bad = before["sent"] + during["sent"] - count([before, during], ACCEPTED)
    yield at_most("others not answered 200", bad, 0)


def cost(content: bytes, strength: float = 1.0) -> tuple[float, bool]:
    """Least seconds of CPU of three tries to decode a file, and whether it is accepted."""
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
    """Files of the most pixels, full of noise as far as a body may be: they cost the most."""
    dice, side = np.random.default_rng(0), math.isqrt(CAP)
    noise = dice.integers(0, 256, (side, side, 3), dtype=np.uint8)
    calm = (noise // 96 + np.arange(side, dtype=np.uint8)[:, None] // 2).astype(np.uint8)
    for format, image, options in (
        ("JPEG", noise, {"quality": 90}),
        ("JPEG", noise, {"quality": 65, "progressive": True}),
        ("PNG", calm, {"compress_level": 1}),
        ("WEBP", noise, {"quality": 10, "method": 0}),
        ("WEBP", calm, {"lossless": True, "method": 0}),
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
    """JPEGs of the most pixels whose colours must be converted, and seconds of CPU allowed for
    them at full size. Noise is the worst: no two pixels are converted alike.
    """
    dice, side = np.random.default_rng(0), math.isqrt(CAP)
    noise = dice.integers(0, 256, (side, side, 4), dtype=np.uint8)
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
    """What a file may cost before it is refused, and at most; CPU time of one thread."""
    refused = [cost(content) for content, _ in REFUSED_FILES]
    yield at_most(f"accepted of {len(refused)} hostile files", sum(ok for _, ok in refused), 0)
    yield at_most("CPU of the costliest of them", max(s for s, _ in refused), 0.25, " s")
    accepted = [cost(content) for content in ACCEPTED_FILES]
    sound = sum(ok for _, ok in accepted)
    yield at_least(f"accepted of {len(accepted)} with much beside the pixels", sound, len(accepted))
    yield at_most("CPU of the costliest of them", max(s for s, _ in accepted), 1, " s")
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
        yield at_most(f"{what} where the photograph shows", seconds, limit, " s")


def fuzzed(images: int, requests: int) -> Iterator[Line]:
    """Damaged images through the decoder, nonsense and odd requests through a server."""
    broken = fuzz.images(images, 0, os.cpu_count() or 1)
    yield at_most(f"of {images} damaged images, not decoded or refused", broken, 0)
    sent = fuzz.requests(requests, 0)  # raises at a fault
    yield at_least("requests without a 500, the server as before", sent, requests)


Part = Callable[[Path, Path], Iterator[Line]]


def parts(bundled: Path) -> dict[str, Part]:
    """Every part in its long form, by name; each takes a folder to write to and a tiny network."""
    return {
        "flood": lambda f, m: flood(f, m, Flood(20, 12), 0.05, SIDE, 40, real=False),
        "flood-real": lambda f, _: flood(f, bundled, Flood(30, 40), 0.25, 256, 8, real=True),
        "leaving": lambda f, m: leaving(f, m, 20, 0.5),
        "stopping": lambda f, m: stopping(f, m, 50),
        "restarting": lambda f, m: restarting(f, m, 20, 11_000, 60),
        "memory": lambda f, _: memory(f, bundled, 10_000, 25),
        "refusing": lambda f, m: refusing(f, m, 1000, 50),
        "slow": lambda f, m: slow(f, m, 500, 30),
        "files": lambda f, m: files(),
        "fuzz": lambda f, m: fuzzed(1_000_000, 20_000),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; 0 if every line is within its limit."""
    from tests.conftest import make_folder

    known = parts(ROOT / "models")
    parser = argparse.ArgumentParser(prog="tests.tools.soak")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(known)}")
    wanted = parser.parse_args(arguments).parts or list(known)
    if unknown := set(wanted) - set(known):
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(known)}")
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
