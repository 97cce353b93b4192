"""An h11 parser that bounds the CPU time a request can cost."""

from typing import NoReturn

import h11

MAX_HEADER_BYTES = 20 * 1024  # also bounds trailers and the line before each chunk
_FEED_BYTES = 4 * 1024  # passed to h11 at a time, because it bounds only incomplete events

# h11 takes about 10 us per chunk, and the event loop about as long per read, whatever the size.
FREE_CHUNKS, CHUNK_BYTES = 250, 256
FREE_READS, READ_BYTES = 2000, 512


class Parser(h11.Connection):
    """The server's side of an HTTP/1.1 connection.

    A request may use FREE_CHUNKS chunks and FREE_READS reads of any size. Beyond that, its chunks
    must average CHUNK_BYTES and its reads READ_BYTES. Rejects a request with both Content-Length
    and Transfer-Encoding (RFC 9112, 6.1).

    Attributes:
        rejection: why a request was rejected, or None if h11 itself raised the error.
    """

    def __init__(self) -> None:
        self.rejection: str | None = None
        super().__init__(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._unfed: list[memoryview] = []
        self._bytes = self._reads = self._chunks = self._body = 0

    def receive_data(self, data: bytes) -> None:
        """Accept the bytes of one read, or no bytes at the end of the stream."""
        self._bytes += len(data)
        self._reads += 1
        if not data:
            super().receive_data(data)
        view = memoryview(data)
        self._unfed += [
            view[start : start + _FEED_BYTES] for start in range(0, len(data), _FEED_BYTES)
        ]

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event, as h11 does. Raises h11.RemoteProtocolError."""
        if self._reads > FREE_READS + self._bytes / READ_BYTES:
            self._reject("the request arrives in too many small pieces; send larger ones")
        event = super().next_event()
        while event is h11.NEED_DATA and self._unfed:
            super().receive_data(bytes(self._unfed.pop(0)))
            event = super().next_event()
        if isinstance(event, h11.Request):
            self._start(event)
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._body += len(event.data)
            if self._chunks > FREE_CHUNKS + self._body / CHUNK_BYTES:
                self._reject("the body arrives in too many small chunks; send larger ones")
        return event

    @property
    def has_started(self) -> bool:
        """Whether bytes of the next request have arrived."""
        return bool(self.trailing_data[0] or self._unfed)

    def _start(self, request: h11.Request) -> None:
        self._bytes = len(self.trailing_data[0]) + sum(map(len, self._unfed))
        self._reads = self._chunks = self._body = 0
        names = {name for name, _ in request.headers}
        if {b"content-length", b"transfer-encoding"} <= names:
            self._reject("send either Content-Length or Transfer-Encoding, not both")

    def _reject(self, reason: str) -> NoReturn:
        self.rejection = reason
        raise h11.RemoteProtocolError(reason)
