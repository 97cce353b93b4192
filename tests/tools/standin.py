"""A real server in a process of its own, whose networks may take a fixed time for each pixel.

`python -m tests.tools.standin --seconds-per-pixel S` serves like the command, but painting is S
seconds of sleep for each pixel, so that its capacity is known and costs no CPU; 0 is the real
network. --leak keeps so many bytes of each request, for tests that must notice.
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

from app.engine.network import Network
from app.engine.service import Answer, Service
from app.http.server import serve
from app.settings import read_settings
from tests.tools.gateway import free_port
from tests.tools.pages import ROOT

PATIENCE = 120  # seconds for a server to start or stop


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


def _sleep_for(seconds_per_pixel: float) -> None:
    def paint(self: Network, images: np.ndarray, styles: np.ndarray) -> np.ndarray:
        time.sleep(seconds_per_pixel * images.shape[0] * images.shape[1] * images.shape[2])
        return 255 - images

    Network.paint = paint  # type: ignore[method-assign]


def _leak(size: int) -> None:
    kept = []
    stylize = Service.stylize

    async def keep(self: Service, *arguments: Any) -> Answer:
        kept.append(os.urandom(size))
        return await stylize(self, *arguments)

    Service.stylize = keep  # type: ignore[method-assign,assignment]


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds-per-pixel", type=float, default=0)
    parser.add_argument("--leak", type=int, default=0, help="bytes")
    options = parser.parse_args()
    if options.seconds_per_pixel:
        _sleep_for(options.seconds_per_pixel)
    if options.leak:
        _leak(options.leak)
    serve(read_settings())


if __name__ == "__main__":
    main()
