"""Requests that a server may get from anyone: after our OpenAPI document, and after no document."""

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

SECONDS = 60  # to wait for an answer on a busy machine
BAD = {500, 501, 502, 504}  # 503 is an answer: not now

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


class Found(Exception):
    """A request that was not answered as it should be; the message has it."""


def nonsense(chance: Random) -> bytes:
    """Bytes in which a server may see a request, or two."""
    words = b"".join(chance.choice(WORDS) for _ in range(chance.randint(1, 12)))
    return (b"GET /healthz HTTP/1.1\r\n" if chance.random() < 0.3 else b"") + words


def send_nonsense(port: int, chance: Random, count: int) -> None:
    """Send raw bytes on so many connections; any answer but those in BAD will do. Raises Found."""
    for _ in range(count):
        sent = nonsense(chance)
        with closing(socket.create_connection(("127.0.0.1", port), timeout=SECONDS)) as connection:
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                received = b"".join(iter(lambda: connection.recv(65536), b""))
            except (ConnectionResetError, BrokenPipeError):
                continue  # refused before it was all sent
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    raise
                continue  # the same, seen by shutdown
            if any(b"HTTP/1.1 %d " % status in received for status in BAD):
                raise Found(f"{sent!r} is answered with {received[:99]!r}")


def send_images(port: int, chance: Random, count: int, style: str) -> None:
    """Send damaged images, as forms and as they are, with options of all kinds. Raises Found."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as client:
        for _ in range(count):
            content = damaged(chance)
            options = dict(chance.sample(list(_options(chance)), chance.randint(0, 3)))
            if chance.random() < 0.5:
                answer = client.post(
                    "/stylize", files={"image": content}, data={"style": style, **options}
                )
            else:
                headers = {"Content-Type": f"image/{chance.choice(('png', 'jpeg', '*'))}"}
                answer = client.post(
                    "/stylize", params={"style": style, **options}, content=content, headers=headers
                )
            if answer.status_code in BAD:
                raise Found(f"{options} with {content.hex()} is answered with {answer.text}")


def _options(chance: Random) -> Iterator[tuple[str, str]]:
    odd = ("", "0", "1", "-1", "nan", "1e999", "16", "40", "\0", "true", "é" * 99)
    for name in ("strength", "size", "preserve_colors", "format", "quality", "style", "x"):
        yield name, chance.choice((*odd, "png", "webp"))


def send_by_document(port: int, number: int, count: int) -> int:
    """Send about so many requests made from our OpenAPI document, right and wrong ones in turn.

    Returns how many it were. Raises Found.
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
                answer = case.call(base_url=url, timeout=SECONDS)
                if answer.status_code in BAD:
                    raise Found(f"{case.as_curl_command()} is answered with {answer.text}")

            with contextlib.suppress(Unsatisfiable):  # there may be nothing to get wrong
                send()
    return sent


def reference(port: int, style: str) -> bytes:
    """What the server makes of a sound picture. Raises Found if it is not well."""
    url = f"http://127.0.0.1:{port}"
    answer = httpx2.post(
        f"{url}/stylize", files={"image": corpus()[0]}, data={"style": style}, timeout=SECONDS
    )
    health = httpx2.get(f"{url}/healthz", timeout=SECONDS)
    if (answer.status_code, health.status_code) != (200, 200):
        raise Found(f"a sound picture is answered with {answer.status_code} {answer.text}")
    return answer.content


def send_all(port: int, number: int, count: int, style: str) -> int:
    """A third of the requests of each kind; afterwards the server must paint as before.

    Returns how many it were. Raises Found.
    """
    before = reference(port, style)
    send_nonsense(port, Random(f"nonsense:{number}"), count // 3)
    send_images(port, Random(f"images:{number}"), count // 3, style)
    sent = send_by_document(port, number, count // 3)
    if reference(port, style) != before:
        raise Found("a picture is painted otherwise than before")
    return 2 * (count // 3) + sent
