"""A real server in a process of its own, whose networks may take a fixed time per pixel.

`python -m tests.tools.standin --seconds-per-pixel S` serves like the command, but painting sleeps
for S seconds per pixel, so that its capacity is known and needs no CPU; with 0 it runs the real
network. --leak BYTES leaks memory at each request, for tests that must detect it.
"""

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app import logs
from app.engine.device import Device, OnnxSession, Session
from app.http.server import make_server
from app.model_folder import pattern
from app.settings import read_settings
from tests.system.test_deployment import ROOT, free_port

PATIENCE = 120  # seconds for a server to start or stop
CHECKED_SIDE = pattern().shape[1]  # pixels; of the images that networks are checked with


class Server:
    """A running server; its log is a file of JSON lines."""

    def __init__(self, log: Path, seconds_per_pixel: float = 0, leak: int = 0, **settings: object):
        self.port, self.log = free_port(), log
        self._settings = {"device": "cpu", "threads": 1 if seconds_per_pixel else 0, **settings}
        self._arguments = [f"--seconds-per-pixel={seconds_per_pixel}", f"--leak={leak}"]

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        environment = {f"PASTICHE_{k.upper()}": str(v) for k, v in self._settings.items()}
        command = [sys.executable, "-m", "tests.tools.standin", *self._arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **environment, "PASTICHE_PORT": str(self.port)},
                cwd=ROOT,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while self.readiness() != "ready":
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"the server does not become ready; see {self.log}")
            time.sleep(0.05)

    def stop(self) -> int:
        """Tell it to stop, and wait until it has; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """Stop it at once."""
        self.process.kill()
        self.process.wait()

    def get(self, path: str) -> bytes:
        """The body of an answer. Raises OSError."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path)
            return connection.getresponse().read()

    def readiness(self) -> str:
        """What /readyz says, or `closed`."""
        try:
            status: str = json.loads(self.get("/readyz"))["status"]
        except (OSError, http.client.HTTPException):
            return "closed"
        return status

    def metric(self, name: str) -> float:
        """The value of one sample."""
        lines = (line.rsplit(" ", 1) for line in self.get("/metrics").decode().splitlines())
        return next((float(value) for sample, value in lines if sample == name), 0.0)

    def resident(self) -> int:
        """Its memory, in bytes."""
        resident: int = psutil.Process(self.process.pid).memory_info().rss
        return resident

    def requests(self) -> list[dict[str, Any]]:
        """The access lines of its log."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        return [line for line in lines if "route" in line]


@contextmanager
def serving(log: Path, seconds_per_pixel: float = 0, **more: Any) -> Iterator[Server]:
    """A server that is ready, and killed in the end."""
    server = Server(log, seconds_per_pixel, **more)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class SleepingSession:
    """Inverts images, and sleeps for each pixel.

    Images as small as those that networks are checked with are painted by the real session.
    """

    def __init__(self, session: Session, seconds_per_pixel: float) -> None:
        self._session, self._seconds_per_pixel = session, seconds_per_pixel

    def run(self, **inputs: np.ndarray) -> np.ndarray:
        """Return uint8 [N, H, W, 3]."""
        images = inputs["image"]
        count, height, width, _ = images.shape
        if max(height, width) <= CHECKED_SIDE:
            return self._session.run(**inputs)
        time.sleep(self._seconds_per_pixel * count * height * width)
        return 255 - images


class Leak:
    """A middleware that leaks memory at each request to stylize."""

    def __init__(self, app: ASGIApp, size: int) -> None:
        """size: bytes leaked at each request."""
        self._app, self._size = app, size
        self._kept: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope.get("path") == "/stylize":
            self._kept.append(os.urandom(self._size))
        await self._app(scope, receive, send)


def main() -> None:
    """Serve until a signal stops the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds-per-pixel", type=float, default=0)
    parser.add_argument("--leak", type=int, default=0, help="bytes")
    options = parser.parse_args()
    settings = read_settings()
    logs.configure(settings.log_level, settings.log_format)

    def open_session(graph: bytes, device: Device, name: str) -> Session:
        session = OnnxSession(graph, device, name)
        if options.seconds_per_pixel and not name.endswith("/freeze"):
            return SleepingSession(session, options.seconds_per_pixel)
        return session

    server = make_server(settings, open_session)
    if options.leak:
        app = server.config.app
        assert isinstance(app, FastAPI)
        app.add_middleware(Leak, size=options.leak)
    server.run()


if __name__ == "__main__":
    main()
