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

START_SECONDS = 30


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
    _, log = process.communicate(timeout=20)
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
    _, log = process.communicate(timeout=20)
    assert b"install the gpu extra" in log


def test_a_setting_that_is_wrong_is_one_clear_line() -> None:
    environment = {**os.environ, "PASTICHE_DEVICE": "tpu"}
    command = [sys.executable, "-m", "app.cli", "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert b"PASTICHE_DEVICE" in done.stderr
    assert b"Traceback" not in done.stderr
