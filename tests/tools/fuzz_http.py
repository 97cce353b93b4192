"""Malformed requests: raw bytes, damaged images, cases generated from the OpenAPI document."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from contextlib import closing
from random import Random
from typing import Any

import httpx2
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from tests.tools.fuzz import corpus, damaged

TIMEOUT = 60  # seconds to wait for a response on a busy machine
FAILURES = {500, 501, 502, 504}  # 503 is a valid response

WORDS = (
    *(b"GET ", b"POST ", b"PRI * ", b"/stylize", b"/styles/..%2f..%2fetc%2fpasswd", b"/%00", b"*"),
    *(b" HTTP/1.1\r\n", b" HTTP/9.9\r\n", b" HTTP/1.0\r\n", b"\r\n", b"\r\n\r\n", b"\n", b"\0"),
    *(
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Transfer-Encoding: gzip, chunked\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n"),
    *(b"Content-Type: image/png\r\n", b"Content-Type: multipart/form-data; boundary=x\r\n"),
    *(b"Content-Type: multipart/form-data; boundary=\xff\xfe; charset=zlib\r\n", b"X: \xff\r\n"),
    *(
        b"5\r\nabcde\r\n",
        b"0\r\n\r\n",
        b"ffffffffff\r\n",
        b"zz\r\n",
        b"--x\r\n",
        b"--x--\r\n",
        b"\xff" * 99,
    ),
    *(b'Content-Disposition: form-data; name="image"; filename="a"\r\n\r\n', b"x" * 70_000),
)


class Failure(Exception):
    """A request that got a wrong response; the message contains it."""


def nonsense(rng: Random) -> bytes:
    """Return bytes that a server may take for one or two requests."""
    words = b"".join(rng.choice(WORDS) for _ in range(rng.randint(1, 12)))
    return (b"GET /healthz HTTP/1.1\r\n" if rng.random() < 0.3 else b"") + words


def send_nonsense(port: int, rng: Random, count: int) -> None:
    """Send raw bytes on `count` connections. Raises Failure if a status is one of FAILURES."""
    for _ in range(count):
        sent = nonsense(rng)
        with closing(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)) as connection:
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                received = b"".join(iter(lambda: connection.recv(65536), b""))
            except (ConnectionResetError, BrokenPipeError):
                continue  # rejected before everything was sent
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    raise
                continue  # the same, noticed by shutdown
            if any(b"HTTP/1.1 %d " % status in received for status in FAILURES):
                raise Failure(f"{sent!r} got {received[:99]!r}")


def send_images(port: int, rng: Random, count: int, style: str) -> None:
    """Send damaged images, as forms and raw, with options of all kinds. Raises Failure."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT) as client:
        for _ in range(count):
            content = damaged(rng)
            options = dict(rng.sample(list(_options(rng)), rng.randint(0, 3)))
            if rng.random() < 0.5:
                response = client.post(
                    "/stylize", files={"image": content}, data={"style": style, **options}
                )
            else:
                headers = {"Content-Type": f"image/{rng.choice(('png', 'jpeg', '*'))}"}
                response = client.post(
                    "/stylize", params={"style": style, **options}, content=content, headers=headers
                )
            if response.status_code in FAILURES:
                raise Failure(f"{options} with {content.hex()} got {response.text}")


def _options(rng: Random) -> Iterator[tuple[str, str]]:
    odd = ("", "0", "1", "-1", "nan", "1e999", "16", "40", "\0", "true", "é" * 99)
    for name in ("strength", "size", "preserve_colors", "format", "quality", "style", "x"):
        yield name, rng.choice((*odd, "png", "webp"))


def send_by_document(port: int, number: int, count: int) -> int:
    """Send about `count` valid and invalid requests generated from the OpenAPI document.

    Return their number. Raises Failure.
    """
    url = f"http://127.0.0.1:{port}"
    operations = []
    for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        assert isinstance(found, Ok), found
        operations.append(found.ok())
    modes = list(GenerationMode)
    sent = 0
    for operation in operations:
        for mode in modes:

            @seed(number)
            @settings(
                max_examples=max(1, count // (len(operations) * len(modes))),
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case: schemathesis.Case[Any]) -> None:
                nonlocal sent
                sent += 1
                response = case.call(base_url=url, timeout=TIMEOUT)
                if response.status_code in FAILURES:
                    raise Failure(f"{case.as_curl_command()} got {response.text}")

            with contextlib.suppress(Unsatisfiable):  # some operations have no invalid requests
                send()
    return sent


def reference(port: int, style: str) -> bytes:
    """Return the server's response to a valid picture. Raises Failure if it is not healthy."""
    url = f"http://127.0.0.1:{port}"
    response = httpx2.post(
        f"{url}/stylize", files={"image": corpus()[0]}, data={"style": style}, timeout=TIMEOUT
    )
    health = httpx2.get(f"{url}/healthz", timeout=TIMEOUT)
    if (response.status_code, health.status_code) != (200, 200):
        raise Failure(f"a valid picture got {response.status_code} {response.text}")
    return response.content


def send_all(port: int, number: int, count: int, style: str) -> int:
    """Send a third of the requests of each kind; the server must then paint as before.

    Return their number. Raises Failure.
    """
    before = reference(port, style)
    send_nonsense(port, Random(f"nonsense:{number}"), count // 3)
    send_images(port, Random(f"images:{number}"), count // 3, style)
    sent = send_by_document(port, number, count // 3)
    if reference(port, style) != before:
        raise Failure("the server no longer paints the same picture")
    return 2 * (count // 3) + sent
