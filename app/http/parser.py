"""HTTP/1.1 parsed by h11, with bounds on the work that a request can cause."""

from typing import NoReturn

import h11

LARGEST_HEADER = 32 * 1024  # bytes; also bounds trailers and the line before a chunk
_FEED = 16 * 1024  # bytes given to h11 at a time, as it bounds only what is incomplete

# h11 takes about 10 us for each chunk and the event loop as long for each read, however small.
FREE_CHUNKS, CHUNK_BYTES = 1000, 1024
FREE_READS, READ_BYTES = 2000, 512


class Parser(h11.Connection):
    """The server's side of a connection.

    A request may come in 1,000 chunks and 2,000 reads; beyond that, its chunks must be 1,024 bytes
    and its reads 512 bytes on average. What exceeds this is refused, and so is a request with both
    Content-Length and Transfer-Encoding (RFC 9112, 6.1). `refusal` says why.
    """

    def __init__(self) -> None:
        self.refusal: str | None = None  # of the last RemoteProtocolError, if it was not h11's own
        super().__init__(h11.SERVER, max_incomplete_event_size=LARGEST_HEADER)
        self._unfed: list[memoryview] = []
        self._bytes = self._reads = self._chunks = self._body = 0

    def receive_data(self, data: bytes) -> None:
        """Take what came in one read; empty at the end of the stream."""
        self._bytes += len(data)
        self._reads += 1
        if not data:
            super().receive_data(data)
        view = memoryview(data)
        self._unfed += [view[start : start + _FEED] for start in range(0, len(data), _FEED)]

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """As h11's. Raises h11.RemoteProtocolError."""
        if self._reads > FREE_READS + self._bytes / READ_BYTES:
            self._refuse("the request comes in too many small pieces; send larger ones")
        event = super().next_event()
        while event is h11.NEED_DATA and self._unfed:
            super().receive_data(bytes(self._unfed.pop(0)))
            event = super().next_event()
        if isinstance(event, h11.Request):
            self._begin(event)
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._body += len(event.data)
            if self._chunks > FREE_CHUNKS + self._body / CHUNK_BYTES:
                self._refuse("the body comes in too many small chunks; send larger ones")
        return event

    @property
    def has_begun(self) -> bool:
        """Whether bytes of a next request have come."""
        return bool(self.trailing_data[0] or self._unfed)

    def _begin(self, request: h11.Request) -> None:
        self._bytes = len(self.trailing_data[0]) + sum(map(len, self._unfed))
        self._reads = self._chunks = self._body = 0
        names = {name for name, _ in request.headers}
        if {b"content-length", b"transfer-encoding"} <= names:
            self._refuse("send either Content-Length or Transfer-Encoding, not both")

    def _refuse(self, reason: str) -> NoReturn:
        self.refusal = reason
        raise h11.RemoteProtocolError(reason)
