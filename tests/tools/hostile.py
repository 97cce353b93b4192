"""Hostile requests, made to exhaust the CPU time or memory of a server.

`python -m tests.tools.hostile PORT --requests 1000 --parallel 16` sends them all in turn, and
prints the statuses of the responses and their counts as JSON.
"""

import argparse
import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence

TIMEOUT = 60  # seconds to wait for a response on a busy machine

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /stylize?style=warm HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"

Form = tuple[str, bytes]  # Content-Type and body
FILE = b'Content-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
FIELD = b'Content-Disposition: form-data; name="style"\r\n\r\nwarm'
_NAMED = b'Content-Disposition: form-data; name="a"'


def form(*parts: bytes, boundary: str = "X", charset: str = "") -> Form:
    """Make a form of parts that include their headers."""
    content_type = f"multipart/form-data; boundary={boundary}" + (charset and f"; {charset=!s}")
    delimiter = b"--" + boundary.encode()
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts)
    return content_type, body + delimiter + b"--\r\n"


def _filled(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))


def _in_file(unit: bytes, size: int, boundary: str = "X") -> Form:
    return form(FILE + _filled(unit, size), boundary=boundary)


def _before(unit: bytes, size: int) -> Form:
    content_type, body = form(FILE + b"abc")
    return content_type, _filled(unit, size) + body


def _after(unit: bytes, size: int) -> Form:
    content_type, body = form(FILE + b"abc")
    return content_type, body + _filled(unit, size)


# By name; each is made in about the given number of bytes.
FORMS: dict[str, Callable[[int], Form]] = {
    "near boundaries": lambda size: _in_file(b"\r\n--Xy", size),
    "near last boundaries": lambda size: _in_file(b"\r\n--X-y", size),
    "long near boundaries": lambda size: _in_file(
        b"\r\n--" + b"a" * 69 + b"b", size, boundary="a" * 70
    ),
    "a boundary in boundaries": lambda size: _in_file(b"\r\n--X\r\n--X", size),
    "blanks after a boundary": lambda size: _in_file(
        b"\r\n--X" + b" " * (size - 200) + b"\r\n" + FIELD, size
    ),
    "tiny parts": lambda size: form(*[_NAMED + b"\r\n\r\n"] * (size // 52)),
    "parts without headers": lambda size: form(*[b"\r\n"] * (size // 9)),
    "header lines": lambda size: form(_filled(b"a:\r\n", size) + FIELD),
    "a long header": lambda size: form(b"a: " + _filled(b"b", size) + b"\r\n" + FIELD),
    "a long header name": lambda size: form(_filled(b"b", size) + b": a\r\n" + FIELD),
    "blanks before a header": lambda size: form(b"a:" + _filled(b" ", size) + b"\r\n" + FIELD),
    "a folded header": lambda size: form(b"a: b" + _filled(b"\r\n b", size) + b"\r\n" + FIELD),
    "many parameters": lambda size: form(
        *[_NAMED + b";" * 950 + b"\r\n\r\n"] * min(size // 1000, 18)
    ),
    "a preamble": lambda size: _before(b"preamble\r\n", size),
    "a preamble of line ends": lambda size: _before(b"\r\n", size),
    "an epilogue": lambda size: _after(b"epilogue\r\n", size),
    "an epilogue of boundaries": lambda size: _after(b"--X\r\n", size),
    "no boundary": lambda size: (form()[0], _filled(b"no boundary", size)),
    "a missing last boundary": lambda size: (form()[0], b"--X\r\n" + FILE + _filled(b"abc", size)),
    "CR": lambda size: _in_file(b"\r", size),
    "LF": lambda size: _in_file(b"\n", size),
    "CRLF": lambda size: _in_file(b"\r\n", size),
    "CRLF and hyphens": lambda size: _in_file(b"\r\n--", size),
    "hyphens": lambda size: _in_file(b"-", size, boundary="-" * 70),
    "a long field": lambda size: form(_NAMED + b"\r\n\r\n" + _filled(b"a", size)),
    "many files": lambda size: form(*[FILE] * (size // 68)),
}

# Content-Types of forms that are rejected before the body is read.
CONTENT_TYPES: dict[str, str] = {
    "a boundary of 60 KB": f"multipart/form-data; boundary={'x' * 60_000}",
    "60,000 parameters": f'multipart/form-data; boundary="{";" * 60_000}',
    "a charset of 60 KB": f"multipart/form-data; boundary=X; charset={'x' * 60_000}",
    "unicode_escape": "multipart/form-data; boundary=X; charset=unicode_escape",
    "utf-7": "multipart/form-data; boundary=X; charset=utf-7",
    "idna": "multipart/form-data; boundary=X; charset=idna",
    "a boundary with a vertical tab": "multipart/form-data; boundary=X\x0b",
    "a boundary that is not ASCII": "multipart/form-data; boundary=\xff\xfe",
    "a boundary that ends in a blank": 'multipart/form-data; boundary="X "',
}


def small_chunks(size: int, chunk: int = 1, extension: bytes = b"") -> bytes:
    """Return a request of about `size` bytes, its body in chunks of `chunk` bytes, without end."""
    piece = b"%x%b\r\n%b\r\n" % (chunk, extension, b"x" * chunk)
    return POST + b"Transfer-Encoding: chunked\r\n\r\n" + piece * (size // len(piece))


def long_extensions(size: int) -> bytes:
    """Return a request with chunks of one byte, each with an extension of a kilobyte."""
    return small_chunks(size, extension=b";" + b"e" * 1000)


def many_header_lines(size: int) -> bytes:
    """Return a request with a header of `size` bytes in lines of five bytes."""
    return GET[:-2] + b"a:b\r\n" * (size // 5) + b"\r\n"


def many_trailers(size: int) -> bytes:
    """Return a request with an empty chunked body and `size` bytes of trailers."""
    return POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a:b\r\n" * (size // 5) + b"\r\n"


def pipelined(count: int) -> bytes:
    """Return `count` requests in a row, of which the last closes the connection."""
    return GET * (count - 1) + GET[:-2] + b"Connection: close\r\n\r\n"


def two_lengths() -> bytes:
    """Return a request whose length gateways and servers may interpret differently."""
    both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    return POST + both + b"0\r\n\r\n" + GET


def all_requests(size: int) -> dict[str, bytes]:
    """Return all hostile requests of about `size` bytes, by name; each closes its connection."""
    end = b"0\r\n\r\n"
    found = {name: _post(*make(size)) for name, make in FORMS.items()}
    found |= {
        name: _post(content_type, b"--X--\r\n") for name, content_type in CONTENT_TYPES.items()
    }
    found |= {
        "small chunks": small_chunks(size) + end,
        "chunks of 100 bytes": small_chunks(size, chunk=100) + end,
        "chunks of 256 bytes": small_chunks(size, chunk=256) + end,
        "long extensions": long_extensions(size) + end,
        "many header lines": many_header_lines(size),
        "many short header lines": many_header_lines(2000),
        "many trailers": many_trailers(size),
        "two lengths": two_lengths(),
    }
    found = {
        name: content.replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n", 1)
        for name, content in found.items()
    }
    return {**found, "pipelined": pipelined(100)}


def _post(content_type: str, body: bytes) -> bytes:
    head = f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return b"POST /stylize?style=warm HTTP/1.1\r\nHost: a\r\n" + head.encode("latin-1") + body


async def send(port: int, request: bytes) -> str:
    """Send a request, and return the status of the first response, `closed` or `timeout`."""
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                received = await reader.read()
            finally:
                writer.transport.abort()
    except TimeoutError:
        return "timeout"
    except OSError:
        return "closed"
    return received[9:12].decode() or "closed"


async def send_all(port: int, requests: Sequence[bytes], count: int, parallel: int) -> Counter[str]:
    """Send `count` requests on `parallel` connections, and count the statuses."""
    remaining = itertools.islice(itertools.cycle(requests), count)
    statuses: Counter[str] = Counter()

    async def work() -> None:
        for request in remaining:
            statuses[await send(port, request)] += 1

    await asyncio.gather(*(work() for _ in range(parallel)))
    return statuses


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="tests.tools.hostile", description="Hostile requests.")
    parser.add_argument("port", type=int)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=16, help="connections")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2**15, 2**18], help="bytes")
    options = parser.parse_args(arguments)
    requests = [r for size in options.sizes for r in all_requests(size).values()]
    statuses = asyncio.run(send_all(options.port, requests, options.requests, options.parallel))
    print(json.dumps(statuses))
    return 0


if __name__ == "__main__":
    sys.exit(main())
