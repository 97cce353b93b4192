import asyncio
import contextlib
import errno
import gc
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.http.server import Exhaustion, make_server, serve
from app.settings import Settings

START_SECONDS = 180  # of a machine that does other work too


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(
    port: int, method: str, path: str, body: bytes = b"", media_type: str = ""
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": media_type} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_for_status(port: int, wanted: str) -> dict[str, object]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            ready: dict[str, object] = json.loads(call(port, "GET", "/readyz")[1])
        except OSError:
            ready = {}
        if ready.get("status") == wanted:
            return ready
        time.sleep(0.05)
    raise TimeoutError(f"the server did not become {wanted}")


@pytest.fixture
def start() -> Iterator[object]:
    started: list[subprocess.Popen[bytes]] = []

    def start(**settings: object) -> tuple[subprocess.Popen[bytes], int]:
        port = free_port()
        environment = {f"PASTICHE_{k.upper()}": str(v) for k, v in settings.items()}
        command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stderr=subprocess.PIPE
        )
        started.append(process)
        return process, port

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_command_serves_and_stops_cleanly(start, models: Path, jpeg: bytes) -> None:  # type: ignore[no-untyped-def]
    process, port = start(models=models, device="cpu")
    assert wait_for_status(port, "ready")["styles"] == 3
    status, content = call(port, "POST", "/stylize?style=warm", jpeg, "image/jpeg")
    assert (status, content[:2]) == (200, b"\xff\xd8")
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=180)
    assert process.returncode in (0, -signal.SIGTERM)
    assert b"ready after" in log
    assert b"provider=CPUExecutionProvider" in log
    assert b"Traceback" not in log


def test_a_device_that_is_named_and_not_there_never_becomes_ready(start, models: Path) -> None:  # type: ignore[no-untyped-def]
    import onnxruntime as ort

    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime is built with CUDA")
    process, port = start(models=models, device="cuda")
    assert wait_for_status(port, "unavailable")["device"] is None
    assert call(port, "GET", "/healthz")[0] == 200
    process.terminate()
    _, log = process.communicate(timeout=180)
    assert b"install the gpu extra" in log


def test_a_setting_that_is_wrong_is_one_clear_line() -> None:
    environment = {**os.environ, "PASTICHE_DEVICE": "tpu"}
    command = [sys.executable, "-m", "app.cli", "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=180)
    assert done.returncode == 1
    assert b"PASTICHE_DEVICE" in done.stderr
    assert b"Traceback" not in done.stderr


def lines(log: bytes) -> list[dict[str, object]]:
    """Each line of a log, which must be an object."""
    return [json.loads(line) for line in log.splitlines()]


def test_every_log_line_is_an_object_whatever_callers_send(start, models: Path) -> None:  # type: ignore[no-untyped-def]
    process, port = start(models=models, device="cpu")
    wait_for_status(port, "ready")
    for raw in (
        b"GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"no HTTP at all\r\n\r\n",
        b"GET /%0a%0d{ HTTP/1.1\r\nHost: x\r\nX-Request-ID: {}\\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: " + b"x" * 10_000 + b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(raw)
            assert connection.recv(100).startswith(b"HTTP/1.1 ")
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=180)
    told = lines(log)
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(x) for x in told))
    assert {"app.http.access", "app.engine.service", "uvicorn.error"} <= {
        str(x["logger"]) for x in told
    }
    assert b"x" * 100 not in log


def test_a_stopping_server_says_so_first_and_answers_all_it_took(  # type: ignore[no-untyped-def]
    start, models: Path, jpeg: bytes
) -> None:
    process, port = start(models=models, device="cpu", shutdown_delay=3)
    wait_for_status(port, "ready")
    half = http.client.HTTPConnection("127.0.0.1", port, timeout=180)
    half.putrequest("POST", "/stylize?style=warm")
    half.putheader("Content-Type", "image/jpeg")
    half.putheader("Content-Length", str(len(jpeg)))
    half.endheaders(jpeg[:100])
    process.send_signal(signal.SIGTERM)
    assert wait_for_status(port, "draining")["device"] is None
    assert call(port, "POST", "/stylize?style=warm", jpeg, "image/jpeg")[0] == 200
    while is_open(port):
        time.sleep(0.05)
    half.send(jpeg[100:])
    answer = half.getresponse()
    assert answer.status == 200
    assert answer.read()[:2] == b"\xff\xd8"
    half.close()
    _, log = process.communicate(timeout=180)
    assert [x["status"] for x in lines(log) if x.get("route") == "/stylize"] == [200, 200]


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("rounds", range(4))
def test_connections_that_wait_at_the_port_when_it_closes_are_answered(
    settings: Settings, rounds: int
) -> None:
    async def test() -> list[bytes]:
        server = make_server(settings.model_copy(update={"host": "127.0.0.1", "port": 0}))
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup()
        with contextlib.ExitStack() as stack:
            (listening,) = server.servers[0].sockets
            # The loop stands still meanwhile: the kernel has taken them, the server has not.
            callers = [
                stack.enter_context(socket.create_connection(listening.getsockname(), timeout=30))
                for _ in range(20)
            ]
            for caller in callers:
                caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            for _ in range(rounds):
                await asyncio.sleep(0)
            await server.shutdown()
            return [caller.recv(12) for caller in callers]

    assert asyncio.run(test()) == [b"HTTP/1.1 200"] * 20


def test_a_second_signal_stops_at_once(start, models: Path) -> None:  # type: ignore[no-untyped-def]
    process, port = start(models=models, device="cpu", shutdown_delay=600)
    wait_for_status(port, "ready")
    process.send_signal(signal.SIGTERM)
    wait_for_status(port, "draining")
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=180)
    assert process.returncode == 128 + signal.SIGTERM
    assert "on a second signal" in str(lines(log)[-1]["message"])


@pytest.mark.parametrize(
    ("allow", "told"),
    [("", "127.0.0.1"), ("192.0.2.1", "127.0.0.1"), ("127.0.0.0/8", "198.51.100.9")],
)
def test_a_forwarded_address_is_believed_of_named_gateways_only(  # type: ignore[no-untyped-def]
    start, tmp_path: Path, allow: str, told: str
) -> None:
    process, port = start(models=tmp_path, device="cpu", forwarded_allow=allow)
    wait_for_status(port, "unavailable")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"X-Forwarded-For": "203.0.113.5, 198.51.100.9", "X-Request-ID": "mine-1"}
    connection.request("GET", "/styles", headers=headers)
    assert connection.getresponse().read()
    connection.close()
    process.terminate()
    _, log = process.communicate(timeout=180)
    (line,) = (x for x in lines(log) if x.get("request_id") == "mine-1" and "route" in x)
    assert line["client"] == told


def test_opentelemetry_without_its_packages_is_one_clear_line() -> None:
    hide = (
        "import sys; sys.modules['opentelemetry.exporter'] = None; "
        "from app.cli import main; sys.exit(main(['serve']))"
    )
    environment = {**os.environ, "PASTICHE_OPENTELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", hide], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: PASTICHE_OPENTELEMETRY: the otel extra is missing: "
        "pip install 'pastiche-server[otel]'"
    ]


def test_a_log_that_nobody_reads_does_not_hold_up_the_server(start, models: Path) -> None:  # type: ignore[no-untyped-def]
    process, port = start(models=models, device="cpu")
    wait_for_status(port, "ready")
    for _ in range(400):  # each leaves a line; a pipe holds about 200
        assert call(port, "GET", "/healthz")[0] == 200
    process.terminate()
    _, log = process.communicate(timeout=180)
    assert len([line for line in lines(log) if line.get("route") == "/healthz"]) == 400


def test_missing_file_descriptors_are_told_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(Exhaustion())
        for _ in range(1000):
            error = OSError(errno.EMFILE, "Too many open files")
            loop.call_exception_handler({"message": "accept", "exception": error})
        loop.call_exception_handler({"message": "another fault"})

    asyncio.run(test())
    assert len(caplog.messages) < 10
    assert "PASTICHE_CONNECTIONS" in caplog.messages[0]
    assert caplog.messages[-1] == "another fault"


def test_what_was_imported_is_not_searched_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[int] = []

    class Server:
        def run(self) -> None:
            frozen.append(gc.get_freeze_count())

    monkeypatch.setattr("app.http.server.make_server", lambda settings: Server())
    monkeypatch.setattr("app.logs.configure", lambda *how: None)
    before = gc.get_freeze_count()
    try:
        serve(Settings())
    finally:
        gc.unfreeze()
    assert frozen[0] > before + 10_000
