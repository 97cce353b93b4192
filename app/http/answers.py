"""The answers that are being sent, bounded in bytes."""

import contextlib
from collections.abc import Iterator

from ..errors import Overloaded
from ..metrics import Metrics


class Answers:
    """Counts the bytes of all answers that clients have not taken yet."""

    def __init__(self, most: int, metrics: Metrics) -> None:
        """most: bytes above which `check` refuses."""
        self._most, self._metrics = most, metrics
        self._held = 0

    def check(self) -> None:
        """Raise Overloaded while more bytes than allowed are on their way."""
        if self._held > self._most:
            self._metrics.refusals.labels("answers").inc()
            raise Overloaded("too many answers are waiting for their clients", retry_after=1)

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count an answer of `size` bytes until the block ends."""
        self._count(size)
        try:
            yield
        finally:
            self._count(-size)

    def _count(self, size: int) -> None:
        self._held += size
        self._metrics.answer_bytes.set(self._held)
