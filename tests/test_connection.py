import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from app.settings import Settings, read_settings
from tests.serving import served

SECONDS = 0.5  # that the servers here have patience


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with served(
        read_settings(
            models=tmp_path_factory.mktemp("none"),
            device="cpu",
            header_seconds=SECONDS,
            body_seconds=SECONDS,
            answer_seconds=SECONDS,
        )
    ) as port:
        yield port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    received = b""
    with suppress(ConnectionResetError):  # closed, too, while we still sent
        while piece := connection.recv(65536):
            received += piece
    return received


def problem(answer: bytes) -> tuple[int, str]:
    """Status and code of the last answer in these bytes, which must be a problem document."""
    head, _, body = answer[answer.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/problem+json" in lines
    assert b"connection: close" in lines
    document = json.loads(body)
    assert f"x-request-id: {document['request_id']}".encode() in lines
    assert int(head.split()[1]) == document["status"]
    return document["status"], document["code"]


GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
ALIVE = b'{"status":"alive"}'


def assert_alive(connection: socket.socket) -> None:
    """Ask on a connection that is to stay open; head and body may come in several pieces."""
    connection.sendall(GET + b"\r\n")
    answer = b""
    while not answer.endswith(ALIVE):
        piece = connection.recv(65536)
        assert piece, answer
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200")


def drip(connection: socket.socket, piece: bytes) -> None:
    """Send one piece after another, as slowly as keeps a server in hope, until it has closed."""
    try:
        while True:
            connection.send(piece)
            time.sleep(SECONDS / 10)
    except OSError:
        pass


@contextmanager
def dripping(port: int, start: bytes, piece: bytes) -> Iterator[socket.socket]:
    with closing(connect(port)) as connection:
        connection.sendall(start)
        thread = threading.Thread(target=drip, args=(connection, piece))
        thread.start()
        yield connection
        with suppress(OSError):  # the server has closed it, mostly
            connection.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_header_that_comes_too_slowly_is_answered_and_the_connection_closed(port: int) -> None:
    with dripping(port, GET, b"X-A: b\r\n") as connection:
        assert problem(rest(connection)) == (408, "request_timeout")


def test_a_later_header_on_a_connection_has_no_longer(port: int) -> None:
    with dripping(port, GET + b"\r\n" + GET, b"X-A: b\r\n") as connection:
        answers = rest(connection)
    assert answers.startswith(b"HTTP/1.1 200")
    assert problem(answers) == (408, "request_timeout")


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(port: int) -> None:
    with closing(connect(port)) as connection:
        assert rest(connection) == b""


def test_a_connection_that_rests_between_requests_is_kept(port: int) -> None:
    with closing(connect(port)) as connection:
        for _ in range(2):
            assert_alive(connection)
            time.sleep(2 * SECONDS)


POST = b"POST /stylize?style=a HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"


@pytest.mark.parametrize(
    ("framing", "piece"),
    [
        (b"Content-Length: 9999\r\n\r\n", b"x"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
def test_a_body_that_comes_too_slowly_is_answered_and_the_connection_closed(
    port: int, framing: bytes, piece: bytes
) -> None:
    with dripping(port, POST + framing, piece) as connection:
        assert problem(rest(connection)) == (408, "request_timeout")


def test_the_rest_of_a_body_that_was_refused_is_not_waited_for_without_end(port: int) -> None:
    unasked = b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    with dripping(port, POST + unasked, b"1\r\nx\r\n") as connection:
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 415")
    assert b"unsupported_encoding" in answer


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"GET\r\n\r\n",
        GET + b"Content-Length: x\r\n\r\n",
        GET + b"X-Long: " + b"x" * 100_000,
        POST + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n",
        GET + b"\r\n" + b"\0\0\0\r\n\r\n",
    ],
)
def test_bytes_that_are_not_http_are_answered_with_a_problem(port: int, bytes_: bytes) -> None:
    with closing(connect(port)) as connection:
        connection.sendall(bytes_)
        assert problem(rest(connection)) == (400, "bad_request")


def flood(connection: socket.socket) -> None:
    """Ask and ask and take no answer, until the connection breaks."""
    many = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
    for _ in range(1000):
        connection.sendall(many)
        time.sleep(SECONDS / 10)


def test_a_caller_that_does_not_take_its_answer_is_left(port: int) -> None:
    with closing(connect(port)) as connection, pytest.raises(ConnectionError):
        flood(connection)


def test_one_connection_too_many_is_told_when_to_come_back(settings: Settings) -> None:
    few = settings.model_copy(update={"connections": 2})
    with served(few) as port, ExitStack() as stack:
        first, second, third = (stack.enter_context(closing(connect(port))) for _ in range(3))
        third.sendall(GET + b"\r\n")
        answer = rest(third)
        assert problem(answer) == (503, "overloaded")
        assert b"retry-after: 1" in answer.lower()
        for connection in (first, second):
            assert_alive(connection)


def test_hundreds_of_slow_connections_take_nobodys_turn(tmp_path: Path) -> None:
    patient = read_settings(models=tmp_path, device="cpu", header_seconds=300, body_seconds=300)
    with served(patient) as port, ExitStack() as stack:
        slow = [stack.enter_context(closing(connect(port))) for _ in range(500)]
        starts = GET, POST + b"Content-Length: 33554432\r\n\r\n"
        for number, connection in enumerate(slow):
            connection.sendall(starts[number % 2])
        for _ in range(3):
            for connection in slow:
                connection.send(b"x")
            with closing(connect(port)) as other:
                other.sendall(POST + b"Connection: close\r\nContent-Length: 1\r\n\r\nx")
                assert b'"code":"not_ready"' in rest(other)  # read whole, and nothing to paint with
            with closing(connect(port)) as other:
                other.sendall(GET + b"Connection: close\r\n\r\n")
                assert rest(other).startswith(b"HTTP/1.1 200")
