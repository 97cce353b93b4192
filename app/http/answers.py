"""Bound the bytes of large responses that clients have not received yet."""

import contextlib
from collections.abc import Iterator

from ..errors import Overloaded
from ..metrics import Metrics


class Answers:
    """Counts the bytes of all large responses in flight."""

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        """`check` raises while more than `max_bytes` are in flight."""
        self._max_bytes, self._metrics = max_bytes, metrics
        self._bytes = 0

    def check(self) -> None:
        """Raise Overloaded if too many bytes are in flight."""
        if self._bytes > self._max_bytes:
            self._metrics.refusals.labels("answers").inc()
            raise Overloaded("too many responses are waiting for their clients", retry_after=1)

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count a response of `size` bytes as in flight until the block ends."""
        self._add(size)
        try:
            yield
        finally:
            self._add(-size)

    def _add(self, size: int) -> None:
        self._bytes += size
        self._metrics.answer_bytes.set(self._bytes)
