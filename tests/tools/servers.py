"""Servers for tests: in a thread of this process, or in a process of their own."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import uvicorn

from app.http.connection import Connections
from app.http.server import KEEP_ALIVE, create_app
from app.settings import Settings
from tests.tools.repository import ROOT

TIMEOUT = 180  # seconds for a server to start or stop on a busy machine


def free_port() -> int:
    """Return a free port below the ephemeral range, so that no outgoing connection takes it."""
    for port in random.sample(range(20_000, 32_000), 1000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


def call(
    port: int, method: str, path: str, body: bytes = b"", media_type: str = ""
) -> tuple[int, bytes]:
    """Send a request on a new connection, and return status and body. Raises OSError."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, body, {"Content-Type": media_type} if body else {})
        response = connection.getresponse()
        return response.status, response.read()


def readiness(port: int) -> dict[str, Any]:
    """Return the body of /readyz; its status is `closed` if the server does not respond."""
    try:
        found: dict[str, Any] = json.loads(call(port, "GET", "/readyz")[1])
    except (OSError, http.client.HTTPException):
        return {"status": "closed"}
    return found


def wait_for_status(
    port: int, status: str, process: subprocess.Popen[bytes] | None = None
) -> dict[str, Any]:
    """Wait until /readyz has this status, and return its body.

    Raises TimeoutError, or RuntimeError as soon as the process has ended.
    """
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        found = readiness(port)
        if found["status"] == status:
            return found
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the server has exited with status {process.returncode}")
        time.sleep(0.05)
    raise TimeoutError(f"the server is {found['status']}, not {status}")


@contextmanager
def serve_in_thread(settings: Settings) -> Iterator[int]:
    """Run a server in a thread and yield its port. It responds, but may not be ready yet."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=Connections(settings, app.state.answers),  # type: ignore[arg-type]
        port=0,
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


class ServerProcess:
    """A server in a process of its own. It keeps its port when it is restarted."""

    process: subprocess.Popen[bytes]

    def __init__(
        self,
        log: Path | None = None,
        *,
        seconds_per_pixel: float = 0,
        leak: int = 0,
        **settings: object,
    ) -> None:
        """Prepare a server; `launch` or `start` runs it.

        log: file to which its log is appended; without one, stderr is a pipe.
        seconds_per_pixel: replaces painting by sleep; leak: bytes to leak per picture. See
        tests.tools.standin.
        """
        self.port, self.log = free_port(), log
        values = {"device": "cpu", "threads": 1 if seconds_per_pixel else 0, "port": self.port}
        self._environment = {
            f"PASTICHE_{name.upper()}": str(value) for name, value in {**values, **settings}.items()
        }
        if seconds_per_pixel or leak:
            arguments = ["tests.tools.standin", f"--seconds-per-pixel={seconds_per_pixel}"]
            self._command = [sys.executable, "-m", *arguments, f"--leak={leak}"]
        else:
            self._command = [sys.executable, "-m", "app.cli", "serve"]

    def launch(self) -> None:
        """Start the process, without waiting for it."""
        environment = {**os.environ, **self._environment}
        if self.log is None:
            self.process = subprocess.Popen(
                self._command, env=environment, cwd=ROOT, stderr=subprocess.PIPE
            )
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=environment, cwd=ROOT, stderr=log)

    def start(self) -> None:
        """Start the process, and wait until it is ready."""
        self.launch()
        self.wait_for_status("ready")

    def stop(self) -> int:
        """Send SIGTERM, wait for the process to end, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT)

    def kill(self) -> None:
        """Kill the process if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def read_log(self) -> bytes:
        """Wait for the process to end, and return what it wrote to the pipe."""
        _, log = self.process.communicate(timeout=TIMEOUT)
        return log

    def wait_for_status(self, status: str) -> dict[str, Any]:
        """Wait until /readyz has this status, and return its body."""
        return wait_for_status(self.port, status, self.process)

    def get(self, path: str) -> bytes:
        """Return the body of a response. Raises OSError."""
        return call(self.port, "GET", path)[1]

    def metric(self, name: str) -> float:
        """Return the value of a metric; 0 if there is none of this name."""
        lines = (line.rsplit(" ", 1) for line in self.get("/metrics").decode().splitlines())
        return next((float(value) for sample, value in lines if sample == name), 0.0)

    def resident_bytes(self) -> int:
        """Return the resident memory of the process."""
        resident: int = psutil.Process(self.process.pid).memory_info().rss
        return resident

    def cpu_seconds(self) -> float:
        """Return the CPU time that the process has used."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def access_log(self) -> list[dict[str, Any]]:
        """Return the access lines of the log file."""
        assert self.log is not None
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        return [line for line in lines if "route" in line]


@contextmanager
def server_process(log: Path, **arguments: Any) -> Iterator[ServerProcess]:
    """Run a ServerProcess; it is ready, and killed at the end."""
    server = ServerProcess(log, **arguments)
    try:
        server.start()
        yield server
    finally:
        server.kill()
