"""The server as a process: start, signals, logs, settings."""

import asyncio
import contextlib
import gc
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime as ort
import pytest
import uvicorn
from skimage import data

from app.http.server import SWITCH_SECONDS, Server, make_server
from app.pixels.images import Picture, decode, encode, resize
from app.settings import BUNDLED_MODELS, Settings
from tests.conftest import make_folder
from tests.tools.servers import TIMEOUT, ServerProcess, call

Launch = Callable[..., ServerProcess]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Launch a server with these settings, its log in a pipe; it is killed after the test."""
    launched: list[ServerProcess] = []

    def launch(**settings: object) -> ServerProcess:
        server = ServerProcess(**settings)  # type: ignore[arg-type]
        server.launch()
        launched.append(server)
        return server

    yield launch
    for server in launched:
        server.kill()


def test_the_command_serves_and_stops_cleanly(launch: Launch, models: Path, jpeg: bytes) -> None:
    server = launch(models=models)
    assert server.wait_for_status("ready")["styles"] == 3
    status, content = call(server.port, "POST", "/stylize?style=warm", jpeg, "image/jpeg")
    assert (status, content[:2]) == (200, b"\xff\xd8")
    server.process.terminate()
    log = server.read_log()
    assert server.process.returncode in (0, -signal.SIGTERM)
    assert b"ready after" in log
    assert b"provider=CPUExecutionProvider" in log
    assert b"Traceback" not in log


def test_the_command_serves_several_folders_of_models(
    launch: Launch, models: Path, tmp_path: Path, jpeg: bytes
) -> None:
    make_folder(tmp_path / "second", "second", ("dark",))
    server = launch(models=os.pathsep.join([str(models), str(tmp_path)]))
    ready = server.wait_for_status("ready")
    assert (ready["networks"], ready["styles"]) == (["tiny", "second"], 4)
    for style, expected in (("dark", 200), ("warm,cold", 200), ("warm,dark", 422)):
        status, answer = call(server.port, "POST", f"/stylize?style={style}", jpeg, "image/jpeg")
        assert status == expected, answer


def test_a_photo_of_12_megapixels_takes_less_than_600_mebibytes(launch: Launch) -> None:
    photo = encode(Picture(resize(data.astronaut(), (4032, 3024))), "jpeg")
    server = launch(models=BUNDLED_MODELS)
    server.wait_for_status("ready")
    for style in ("udnie", "great_wave", "udnie"):
        url = f"/stylize?style={style}&size=1600"
        status, painted = call(server.port, "POST", url, photo, "image/jpeg")
        assert (status, decode(painted, 10**8).size) == (200, (4032, 3024))
    assert server.resident_bytes() < 600 * 2**20  # the process keeps the most that it took


def test_a_named_device_that_is_missing_never_becomes_ready(launch: Launch, models: Path) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime is built with CUDA")
    server = launch(models=models, device="cuda")
    assert "device" not in server.wait_for_status("unavailable")
    assert call(server.port, "GET", "/healthz")[0] == 200
    server.process.terminate()
    log = server.read_log()
    assert b"install the gpu extra" in log


def test_an_invalid_setting_is_reported_in_one_line() -> None:
    environment = {**os.environ, "PASTICHE_DEVICE": "tpu"}
    command = [sys.executable, "-m", "app.cli", "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=TIMEOUT)
    assert done.returncode == 1
    assert b"PASTICHE_DEVICE" in done.stderr
    assert b"Traceback" not in done.stderr


def lines(log: bytes) -> list[dict[str, object]]:
    """Parse a log, in which every line must be a JSON object."""
    return [json.loads(line) for line in log.splitlines()]


def test_every_log_line_is_a_json_object_whatever_clients_send(
    launch: Launch, models: Path
) -> None:
    server = launch(models=models)
    server.wait_for_status("ready")
    for raw in (
        b"GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"no HTTP at all\r\n\r\n",
        b"GET /%0a%0d{ HTTP/1.1\r\nHost: x\r\nX-Request-ID: {}\\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: " + b"x" * 10_000 + b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(raw)
            assert connection.recv(100).startswith(b"HTTP/1.1 ")
    server.process.terminate()
    log = server.read_log()
    records = lines(log)
    assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, records))
    loggers = {record["logger"] for record in records}
    assert {"app.access", "app.engine.service", "uvicorn.error"} <= loggers
    assert b"x" * 100 not in log


def test_a_draining_server_reports_it_and_completes_all_requests(
    launch: Launch, models: Path, jpeg: bytes
) -> None:
    server = launch(models=models, shutdown_delay=3)
    server.wait_for_status("ready")
    half = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    half.putrequest("POST", "/stylize?style=warm")
    half.putheader("Content-Type", "image/jpeg")
    half.putheader("Content-Length", str(len(jpeg)))
    half.endheaders(jpeg[:100])
    server.process.terminate()
    assert "device" not in server.wait_for_status("draining")
    assert call(server.port, "POST", "/stylize?style=warm", jpeg, "image/jpeg")[0] == 200
    while is_open(server.port):
        time.sleep(0.05)
    half.send(jpeg[100:])
    response = half.getresponse()
    assert response.status == 200
    assert response.read()[:2] == b"\xff\xd8"
    half.close()
    log = server.read_log()
    statuses = [line["status"] for line in lines(log) if line.get("route") == "/stylize"]
    assert statuses == [200, 200]


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    except ConnectionRefusedError:
        return False
    return True


async def start(settings: Settings) -> Server:
    """Start a server in the running event loop."""
    server = make_server(settings.model_copy(update={"host": "127.0.0.1", "port": 0}))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    return server


def test_a_signal_that_interrupts_a_log_call_does_not_deadlock(settings: Settings) -> None:
    lock = threading.Lock()

    class LockingHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with lock:
                pass

    async def test() -> None:
        server, handler = await start(settings), LockingHandler()
        logging.getLogger().addHandler(handler)
        try:
            with lock:
                arguments = signal.SIGTERM, None
                thread = threading.Thread(target=server.handle_exit, args=arguments)
                thread.start()
                thread.join(10)
                assert not thread.is_alive()
        finally:
            logging.getLogger().removeHandler(handler)
        while not server.should_exit:
            await asyncio.sleep(0)
        await server.shutdown()

    asyncio.run(test())


@pytest.mark.parametrize("turns", range(4))
def test_connections_queued_when_the_port_closes_are_answered(
    settings: Settings, turns: int
) -> None:
    async def test() -> list[bytes]:
        server = await start(settings)
        with contextlib.ExitStack() as stack:
            (listening,) = server.servers[0].sockets
            # The event loop is blocked: the kernel accepts the connections, the server does not.
            clients = [
                stack.enter_context(socket.create_connection(listening.getsockname(), timeout=30))
                for _ in range(20)
            ]
            for client in clients:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.shutdown()
            return [client.recv(12) for client in clients]

    assert asyncio.run(test()) == [b"HTTP/1.1 200"] * 20


def test_a_second_signal_exits_immediately(launch: Launch, models: Path) -> None:
    server = launch(models=models, shutdown_delay=600)
    server.wait_for_status("ready")
    server.process.terminate()
    server.wait_for_status("draining")
    server.process.terminate()
    log = server.read_log()
    assert server.process.returncode == 128 + signal.SIGTERM
    assert "on a second signal" in str(lines(log)[-1]["message"])


@pytest.mark.parametrize(
    ("allow", "client"),
    [("", "127.0.0.1"), ("192.0.2.1", "127.0.0.1"), ("127.0.0.0/8", "198.51.100.9")],
)
def test_a_forwarded_address_is_accepted_from_named_gateways_only(
    launch: Launch, tmp_path: Path, allow: str, client: str
) -> None:
    server = launch(models=tmp_path, forwarded_allow=allow)
    server.wait_for_status("unavailable")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"X-Forwarded-For": "203.0.113.5, 198.51.100.9", "X-Request-ID": "mine-1"}
    connection.request("GET", "/styles", headers=headers)
    assert connection.getresponse().read()
    connection.close()
    server.process.terminate()
    log = server.read_log()
    (line,) = (x for x in lines(log) if x.get("request_id") == "mine-1" and "route" in x)
    assert line["client"] == client


def test_opentelemetry_without_its_packages_is_reported_in_one_line() -> None:
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


def test_an_unread_log_does_not_block_the_server(launch: Launch, models: Path) -> None:
    server = launch(models=models)
    server.wait_for_status("ready")
    for _ in range(400):  # a line each; a pipe holds about 200
        assert call(server.port, "GET", "/styles")[0] == 200
    server.process.terminate()
    log = server.read_log()
    assert len([line for line in lines(log) if line.get("route") == "/styles"]) == 400


def test_the_interpreter_is_tuned_for_short_delays_while_the_server_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[tuple[int, float]] = []

    def run(server: uvicorn.Server, sockets: object = None) -> None:
        found.append((gc.get_freeze_count(), sys.getswitchinterval()))

    monkeypatch.setattr("uvicorn.Server.run", run)
    before, interval = gc.get_freeze_count(), sys.getswitchinterval()
    try:
        make_server(Settings()).run()
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)
    ((frozen, switching),) = found
    assert frozen > before + 10_000
    assert switching == pytest.approx(SWITCH_SECONDS)
