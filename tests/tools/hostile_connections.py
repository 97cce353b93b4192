"""What a client may send to make a server work for little: bytes for tests of connections."""

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /stylize?style=warm HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"


def small_chunks(size: int, chunk: int = 1, extension: bytes = b"") -> bytes:
    """A request of about `size` bytes whose body comes in chunks of `chunk` bytes."""
    piece = b"%x%b\r\n%b\r\n" % (chunk, extension, b"x" * chunk)
    return POST + b"Transfer-Encoding: chunked\r\n\r\n" + piece * (size // len(piece))


def long_extensions(size: int) -> bytes:
    """Chunks of one byte behind a kilobyte of extensions."""
    return small_chunks(size, extension=b";" + b"e" * 1000)


def many_header_lines(size: int) -> bytes:
    """A header of so many bytes, in lines of five."""
    return GET[:-2] + b"a:b\r\n" * (size // 5) + b"\r\n"


def many_trailers(size: int) -> bytes:
    """An empty chunked body and trailers of so many bytes."""
    return POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a:b\r\n" * (size // 5) + b"\r\n"


def pipelined(count: int) -> bytes:
    """So many requests at once; the last one closes the connection."""
    return GET * (count - 1) + GET[:-2] + b"Connection: close\r\n\r\n"


def two_lengths() -> bytes:
    """A request whose length gateways and servers may see differently."""
    both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    return POST + both + b"0\r\n\r\n" + GET
