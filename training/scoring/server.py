"""A server process of its own, to measure what clients see."""

import http.client
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

START_SECONDS = 60  # how long a server may take to become ready


class Server:
    """A running server on a loopback port."""

    def __init__(self, process: psutil.Popen, port: int) -> None:
        self._process, self._port = process, port
        self.inference_seconds: list[float] = []  # of every picture, from Server-Timing

    def get(self, path: str) -> bytes:
        """Return the body of a GET. Raises RuntimeError unless the status is 200."""
        return self._call("GET", path, None)

    def stylize(self, jpeg: bytes, style: str, size: int) -> bytes:
        """Return the pastiche as JPEG, painted at `size` pixels on the longest side."""
        return self._call("POST", f"/stylize?style={style}&size={size}", jpeg)

    def generate(self, style: str, width: int, height: int) -> bytes:
        """Return a texture as JPEG."""
        query = f"style={style}&width={width}&height={height}&seed=0&format=jpeg"
        return self._call("POST", f"/generate?{query}", None)

    def peak_mib(self) -> float:
        """Return the peak resident memory of the process in MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) / 1024

    def _call(self, method: str, path: str, body: bytes | None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        try:
            connection.request(method, path, body, {"Content-Type": "image/jpeg"} if body else {})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        timing = response.headers.get("Server-Timing", "")
        if match := re.search(r"inference;dur=([\d.]+)", timing):
            self.inference_seconds.append(float(match[1]) / 1e3)
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {content[:300]!r}")
        return content


@contextmanager
def running_server(models: Path) -> Iterator[Server]:
    """Start `pastiche serve` on a free port and wait until it is ready; print how long it took.

    Raises RuntimeError if it exits, or is not ready in time.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PASTICHE_MODELS": str(models), "PASTICHE_LOG_LEVEL": "error"}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    began = time.perf_counter()
    process = psutil.Popen(command, env=environment)
    server = Server(process, port)
    try:
        _wait_until_ready(server, process, began + START_SECONDS)
        print(f"server ready after {time.perf_counter() - began:.1f} s")
        yield server
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(server: Server, process: psutil.Popen, deadline: float) -> None:
    while True:
        try:
            server.get("/readyz")
            return
        except (OSError, RuntimeError) as error:
            if process.poll() is not None:
                raise RuntimeError(f"the server exited with status {process.returncode}") from error
            if time.perf_counter() > deadline:
                raise RuntimeError(f"the server is not ready after {START_SECONDS} s") from error
            time.sleep(0.02)
