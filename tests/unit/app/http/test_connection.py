import io
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.http.connection import READ_BYTES
from app.http.parser import Parser
from app.pixels.images import encode, from_pillow
from app.settings import Settings, read_settings
from tests.tools.hostile import pipelined, small_chunks, two_lengths
from tests.tools.servers import serve_in_thread, wait_for_status

SECONDS = 0.5  # timeout of the server


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serve_in_thread(
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
    """Return everything received until the server closes the connection."""
    received = b""
    with suppress(ConnectionResetError):  # closed while we were still sending
        while piece := connection.recv(65536):
            received += piece
    return received


def problem(response: bytes) -> tuple[int, str]:
    """Return status and code of the last response, which must be a problem document."""
    head, _, body = response[response.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
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
    """Request /healthz on a connection that stays open."""
    connection.sendall(GET + b"\r\n")
    response = b""
    while not response.endswith(ALIVE):
        piece = connection.recv(65536)
        assert piece, response
        response += piece
    assert response.startswith(b"HTTP/1.1 200")


def drip(connection: socket.socket, piece: bytes) -> None:
    """Send a piece again and again, slowly, until the server closes the connection."""
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
        with suppress(OSError):  # the server has usually closed it
            connection.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_slow_header_gets_408_and_the_connection_is_closed(port: int) -> None:
    with dripping(port, GET, b"X-A: b\r\n") as connection:
        assert problem(rest(connection)) == (408, "request_timeout")


def test_a_later_header_on_a_connection_has_the_same_time_limit(port: int) -> None:
    with dripping(port, GET + b"\r\n" + GET, b"X-A: b\r\n") as connection:
        responses = rest(connection)
    assert responses.startswith(b"HTTP/1.1 200")
    assert problem(responses) == (408, "request_timeout")


def test_a_connection_without_a_request_is_closed(port: int) -> None:
    with closing(connect(port)) as connection:
        assert rest(connection) == b""


def test_a_connection_idle_between_requests_is_kept(port: int) -> None:
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
def test_a_slow_body_gets_408_and_the_connection_is_closed(
    port: int, framing: bytes, piece: bytes
) -> None:
    with dripping(port, POST + framing, piece) as connection:
        assert problem(rest(connection)) == (408, "request_timeout")


def test_the_time_for_the_rest_of_a_rejected_body_is_limited(port: int) -> None:
    headers = b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    with dripping(port, POST + headers, b"1\r\nx\r\n") as connection:
        response = rest(connection)
    assert response.startswith(b"HTTP/1.1 415")
    assert b"unsupported_encoding" in response


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"GET\r\n\r\n",
        GET + b"Content-Length: x\r\n\r\n",
        GET + b"X-Long: " + b"x" * 100_000,
        POST + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n",
        GET + b"\r\n" + b"\0\0\0\r\n\r\n",
    ],
)
def test_bytes_that_are_not_http_get_a_problem_document(port: int, content: bytes) -> None:
    with closing(connect(port)) as connection:
        connection.sendall(content)
        assert problem(rest(connection)) == (400, "bad_request")


def flood(connection: socket.socket) -> None:
    """Send requests and read no responses, until the connection breaks."""
    many = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
    for _ in range(1000):
        connection.sendall(many)
        time.sleep(SECONDS / 10)


def test_a_client_that_does_not_read_its_responses_is_disconnected(port: int) -> None:
    with closing(connect(port)) as connection, pytest.raises(ConnectionError):
        flood(connection)


def test_above_the_limit_a_request_gets_503_and_a_probe_is_answered(
    settings: Settings,
) -> None:
    few = settings.model_copy(update={"connections": 2})
    with serve_in_thread(few) as port, ExitStack() as stack:
        busy = [stack.enter_context(closing(connect(port))) for _ in range(2)]
        for connection in busy:
            connection.sendall(POST + b"Content-Length: 99\r\nExpect: 100-continue\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 100")  # the request is in progress
        for path in (b"/healthz", b"/readyz"):
            with closing(connect(port)) as probe:
                probe.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
                response = rest(probe).lower()
                assert response.startswith((b"http/1.1 200", b"http/1.1 503"))
                assert b"overloaded" not in response
                assert b"\r\nconnection: close\r\n" in response
        with closing(connect(port)) as other:
            other.sendall(b"GET /styles HTTP/1.1\r\nHost: a\r\n\r\n")
            response = rest(other)
        assert problem(response) == (503, "overloaded")
        assert b"retry-after: 1" in response.lower()


def test_a_new_connection_evicts_the_one_idle_longest(settings: Settings) -> None:
    few = settings.model_copy(update={"connections": 3})
    with serve_in_thread(few) as port, ExitStack() as stack:
        idle = [stack.enter_context(closing(connect(port))) for _ in range(3)]
        for connection in idle:
            assert_alive(connection)
            connection.settimeout(10)  # less than the server keeps idle connections
        assert_alive(idle[0])  # no longer idle longest
        for _ in range(2):
            assert_alive(stack.enter_context(closing(connect(port))))
        assert [rest(connection) for connection in idle[1:]] == [b"", b""]
        assert_alive(idle[0])


def test_hundreds_of_idle_connections_do_not_block_other_clients(settings: Settings) -> None:
    few = settings.model_copy(update={"connections": 100})
    with serve_in_thread(few) as port, ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(closing(connect(port)))
        for _ in range(3):
            with closing(connect(port)) as other:
                other.sendall(b"GET /styles HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                response = rest(other)
                assert response.startswith(b"HTTP/1.1 ")
                assert b"overloaded" not in response


def test_a_half_closed_client_gets_its_response(port: int) -> None:
    with closing(connect(port)) as connection:
        connection.sendall(POST + b"Content-Length: 1\r\n\r\nx" + GET + b"\r\n")
        connection.shutdown(socket.SHUT_WR)
        responses = rest(connection)
    assert b'"code":"not_ready"' in responses
    assert responses.endswith(ALIVE)


def test_a_half_closed_client_gets_a_picture_that_takes_time(settings: Settings) -> None:
    request = noise(settings)
    with serve_in_thread(settings) as port, closing(connect(port)) as connection:
        wait_for_status(port, "ready")
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        response = rest(connection)
    assert response.startswith(b"HTTP/1.1 100")  # to find out whether the client is connected
    assert b"\r\n\r\nHTTP/1.1 200" in response
    assert response.endswith(b"IEND\xaeB`\x82")


def test_a_body_shorter_than_its_length_gets_a_problem_document(port: int) -> None:
    with closing(connect(port)) as connection:
        connection.sendall(POST + b"Content-Length: 9\r\n\r\nx")
        connection.shutdown(socket.SHUT_WR)
        assert problem(rest(connection)) == (400, "malformed_body")


def test_the_bytes_of_one_read_are_limited(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    receive_data = Parser.receive_data

    def recording(self: Parser, data: bytes) -> None:
        sizes.append(len(data))
        receive_data(self, data)

    monkeypatch.setattr(Parser, "receive_data", recording)
    with closing(connect(port)) as connection:
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % 2**23 + bytes(2**23))
        assert connection.recv(12) == b"HTTP/1.1 503"
    assert max(sizes) == READ_BYTES


def test_chunks_of_one_byte_are_rejected(port: int) -> None:
    began = time.process_time()
    with closing(connect(port)) as connection:
        connection.sendall(small_chunks(2**20))
        response = rest(connection)
    assert problem(response) == (400, "bad_request")
    assert b"too many small chunks" in response
    assert time.process_time() - began < 0.5  # of server and client


def test_chunks_of_one_byte_after_the_response_close_the_connection(port: int) -> None:
    head, _, chunks = small_chunks(2**20).partition(b"\r\n\r\n")
    with closing(connect(port)) as connection:
        connection.sendall(head + b"\r\nContent-Encoding: gzip\r\n\r\n")
        response = connection.recv(65536)
        began = time.process_time()
        with suppress(ConnectionError):
            connection.sendall(chunks)
        response += rest(connection)
    assert response.startswith(b"HTTP/1.1 415")
    assert time.process_time() - began < 0.5


def test_two_lengths_in_one_request_close_the_connection(port: int) -> None:
    with closing(connect(port)) as connection:
        connection.sendall(two_lengths())
        response = rest(connection)
    assert problem(response) == (400, "bad_request")
    assert response.count(b"HTTP/1.1 ") == 1  # the rest is not read as a request


def test_pipelined_requests_and_those_of_other_clients_are_answered(port: int) -> None:
    many = 500
    with closing(connect(port)) as connection, closing(connect(port)) as other:
        connection.sendall(pipelined(many))
        assert_alive(other)
        assert rest(connection).count(ALIVE) == many


def noise(settings: Settings) -> bytes:
    """Return a request whose response has several megabytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    content = encode(from_pillow(Image.fromarray(pixels)), "jpeg", 50)
    head = b"POST /stylize?style=warm&strength=0&format=png&size=16 HTTP/1.1\r\nHost: a\r\n"
    kind = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(content)
    return head + kind + content


def metric(port: int, name: str) -> float:
    with closing(connect(port)) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        text = rest(connection).decode()
    return next(float(x.split()[1]) for x in text.splitlines() if x.startswith(f"{name} "))


def wait_until(port: int, name: str, most: float, least: float = 0) -> None:
    for _ in range(3000):
        if least <= metric(port, name) <= most:
            return
        time.sleep(0.02)
    raise TimeoutError(f"{name} is {metric(port, name)}")


def narrow(port: int) -> socket.socket:
    """Connect with a small receive buffer, so that unread responses stay in the server."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", port))
    return connection


def test_unread_responses_are_counted_limited_and_aborted(settings: Settings) -> None:
    impatient = settings.model_copy(update={"answers_bytes": 2**20, "answer_seconds": 4.0})
    request = noise(settings)
    with serve_in_thread(impatient) as port, closing(narrow(port)) as idle:
        wait_for_status(port, "ready")
        idle.sendall(request)
        wait_until(port, "pastiche_answer_bytes", math.inf, 2**20)
        with closing(connect(port)) as other:
            other.sendall(request.replace(b"Host: a", b"Host: a\r\nConnection: close", 1))
            response = rest(other)
        assert problem(response) == (503, "overloaded")
        assert b"retry-after" in response.lower()
        wait_until(port, "pastiche_answer_bytes", 0)
        head, _, content = rest(idle).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        assert len(content) < length  # aborted


def test_a_large_response_arrives_complete_and_no_longer_counts(settings: Settings) -> None:
    request = noise(settings)
    with serve_in_thread(settings) as port, closing(narrow(port)) as slow:
        wait_for_status(port, "ready")
        slow.sendall(request.replace(b"Host: a", b"Host: a\r\nConnection: close", 1))
        head, _, content = rest(slow).partition(b"\r\n\r\n")
        assert f"content-length: {len(content)}".encode() in head.lower()
        assert len(content) > 2**20
        assert Image.open(io.BytesIO(content)).size == (1200, 1200)
        wait_until(port, "pastiche_answer_bytes", 0)


def test_hundreds_of_slow_connections_do_not_block_other_clients(tmp_path: Path) -> None:
    patient = read_settings(models=tmp_path, device="cpu", header_seconds=300, body_seconds=300)
    with serve_in_thread(patient) as port, ExitStack() as stack:
        slow = [stack.enter_context(closing(connect(port))) for _ in range(500)]
        starts = GET, POST + b"Content-Length: 33554432\r\n\r\n"
        for number, connection in enumerate(slow):
            connection.sendall(starts[number % 2])
        for _ in range(3):
            for connection in slow:
                connection.send(b"x")
            with closing(connect(port)) as other:
                other.sendall(POST + b"Connection: close\r\nContent-Length: 1\r\n\r\nx")
                assert b'"code":"not_ready"' in rest(other)  # the body was read completely
            with closing(connect(port)) as other:
                other.sendall(GET + b"Connection: close\r\n\r\n")
                assert rest(other).startswith(b"HTTP/1.1 200")
