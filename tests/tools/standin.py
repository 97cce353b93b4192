"""A server whose networks take a fixed time per pixel, so that its capacity is known.

`python -m tests.tools.standin --seconds-per-pixel S` serves like the command, but painting sleeps
for S seconds per pixel, which costs no CPU time; with 0 it runs the real network. `--leak BYTES`
leaks memory at each request, to test that a leak is noticed.
"""

import argparse
import os
import time

import numpy as np
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app import logs
from app.engine.devices.choice import open_session
from app.engine.devices.device import Device, Session
from app.http.server import make_server
from app.model_folder import pattern
from app.settings import read_settings

CHECKED_SIDE = pattern().shape[1]  # pixels; of the images that networks are checked with


class SleepingSession:
    """Inverts images, and sleeps for each pixel.

    Images as small as those that networks are checked with are painted by the real session.
    """

    def __init__(self, session: Session, seconds_per_pixel: float) -> None:
        self._session, self._seconds_per_pixel = session, seconds_per_pixel

    def run(self, **inputs: np.ndarray) -> np.ndarray:
        """Return uint8 [N, H, W, 3]."""
        if "noise" in inputs:
            return self._session.run(**inputs)
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

    def open_slowly(graph: bytes, device: Device, name: str) -> Session:
        session = open_session(graph, device, name)
        if options.seconds_per_pixel and not name.endswith("/freeze"):
            return SleepingSession(session, options.seconds_per_pixel)
        return session

    server = make_server(settings, open_slowly)
    if options.leak:
        app = server.config.app
        assert isinstance(app, FastAPI)
        app.add_middleware(Leak, size=options.leak)
    server.run()


if __name__ == "__main__":
    main()
