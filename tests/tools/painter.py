"""A network for the scheduler's tests, which can be held, made to fail, or run out of memory."""

import threading
from dataclasses import dataclass, field

import numpy as np

from app.engine.network import check_output
from app.errors import OutOfMemory

TIMEOUT = 60  # seconds; far longer than any test holds a batch


@dataclass
class FakePainter:
    """Paints every pixel in the style's first value, and records the size of each batch."""

    name: str = "fake"
    operation: str = "stylize"
    batches: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)  # painting waits for it
    error: Exception | None = None  # raised by `paint`
    memory: int = 1000  # images that a batch may have before `paint` runs out of memory
    memory_after_rebuild: int = 1000
    rebuilds: int = 0
    rebuild_error: Exception | None = None

    def pixels(self, source: np.ndarray) -> int:
        return source.size // 3

    def valid(self, sources: np.ndarray, painted: np.ndarray) -> list[bool]:
        return check_output(sources, painted)

    def paint(self, images: np.ndarray, styles: np.ndarray) -> np.ndarray:
        assert self.gate.wait(TIMEOUT)
        self.batches.append(len(images))
        if self.error is not None:
            raise self.error
        if len(images) > self.memory:
            raise OutOfMemory("the device has no memory left for this picture")
        values = styles[:, :1, None, None].astype(np.uint8)
        return np.broadcast_to(values, images.shape).copy()

    def rebuild(self) -> None:
        self.rebuilds += 1
        self.memory = self.memory_after_rebuild
        if self.rebuild_error is not None:
            raise self.rebuild_error
