"""A server whose networks take a fixed time per pixel, so that its capacity is known.

`python -m tests.tools.standin --seconds-per-pixel S` serves like the command, but replaces painting
by S seconds of sleep per pixel, which costs no CPU time; 0 keeps the real network. `--leak` leaks
memory on each picture, to test that a leak is noticed.
"""

import argparse
import os
import time
from typing import Any

import numpy as np

from app.engine.network import Network
from app.engine.service import Answer, Service
from app.http.server import serve
from app.settings import read_settings


def _replace_painting(seconds_per_pixel: float) -> None:
    def paint(self: Network, images: np.ndarray, styles: np.ndarray) -> np.ndarray:
        time.sleep(seconds_per_pixel * images.shape[0] * images.shape[1] * images.shape[2])
        return 255 - images

    Network.paint = paint  # type: ignore[method-assign]


def _add_leak(size: int) -> None:
    leaked = []
    stylize = Service.stylize

    async def leaking_stylize(self: Service, *arguments: Any) -> Answer:
        leaked.append(os.urandom(size))
        return await stylize(self, *arguments)

    Service.stylize = leaking_stylize  # type: ignore[method-assign,assignment]


def main() -> None:
    """Run the server until a signal stops it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds-per-pixel", type=float, default=0)
    parser.add_argument("--leak", type=int, default=0, help="bytes per picture")
    options = parser.parse_args()
    if options.seconds_per_pixel:
        _replace_painting(options.seconds_per_pixel)
    if options.leak:
        _add_leak(options.leak)
    serve(read_settings())


if __name__ == "__main__":
    main()
