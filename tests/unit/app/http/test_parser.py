import time
from collections.abc import Iterator

import h11
import pytest

from app.http.connection import READ_BYTES
from app.http.parser import MAX_HEADER_BYTES, Parser
from tests.tools.hostile import (
    GET,
    POST,
    long_extensions,
    many_header_lines,
    many_trailers,
    small_chunks,
    two_lengths,
)

MAX_SECONDS = 0.1  # CPU time that one read may cost the event loop


def reads(content: bytes, size: int = READ_BYTES) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def events(parser: Parser) -> list[object]:
    """Return all events that are available."""
    found: list[object] = []
    while (event := parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        found.append(event)
    return found


def longest_turn(content: bytes) -> tuple[float, str | None]:
    """Return the most CPU seconds of one read, and why the request was rejected, if it was."""
    parser, longest = Parser(), 0.0
    for piece in reads(content):
        began = time.process_time()
        try:
            parser.receive_data(piece)
            events(parser)
        except h11.RemoteProtocolError as error:
            return max(longest, time.process_time() - began), parser.rejection or str(error)
        longest = max(longest, time.process_time() - began)
    return longest, None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (small_chunks(2**22), "small chunks"),
        (small_chunks(2**22, chunk=200), "small chunks"),
        (long_extensions(2**23), "small chunks"),
        (many_header_lines(2**20), "too long"),
        (many_trailers(2**20), "too long"),
    ],
    ids=["chunks of a byte", "chunks of 200 bytes", "extensions", "header", "trailers"],
)
def test_an_expensive_request_is_rejected_within_one_turn_of_the_event_loop(
    content: bytes, reason: str
) -> None:
    seconds, rejection = min(longest_turn(content) for _ in range(3))
    assert rejection is not None
    assert reason in rejection
    assert seconds < MAX_SECONDS


def test_a_body_in_chunks_of_a_fair_size_is_accepted() -> None:
    content = small_chunks(2**22, chunk=256) + b"0\r\n\r\n"
    parser = Parser()
    received = 0
    for piece in reads(content):
        parser.receive_data(piece)
        received += sum(len(e.data) for e in events(parser) if isinstance(e, h11.Data))
    assert parser.their_state is h11.DONE
    assert received == content.count(b"x" * 256) * 256


def test_a_small_body_may_arrive_in_chunks_of_any_size() -> None:
    parser = Parser()
    parser.receive_data(small_chunks(6 * 250) + b"0\r\n\r\n")
    events(parser)
    assert parser.their_state is h11.DONE


def test_a_body_in_tiny_reads_is_rejected_and_one_in_packets_is_accepted() -> None:
    body = bytes(2**20)
    head = POST + b"Content-Length: %d\r\n\r\n" % len(body)
    tiny, packets = Parser(), Parser()

    def send_tiny_pieces() -> None:
        for piece in reads(head + body, 8):
            tiny.receive_data(piece)
            events(tiny)

    with pytest.raises(h11.RemoteProtocolError, match="small pieces"):
        send_tiny_pieces()
    for piece in reads(head + body, 1220):
        packets.receive_data(piece)
        events(packets)
    assert packets.their_state is h11.DONE


def test_the_limits_apply_to_each_request_of_a_connection() -> None:
    parser = Parser()
    for _ in range(3000):
        parser.receive_data(GET)
        assert len(events(parser)) == 2
        parser.send(h11.Response(status_code=204, headers=[]))
        parser.send(h11.EndOfMessage())
        parser.start_next_cycle()


def test_a_request_with_two_lengths_is_rejected() -> None:
    parser = Parser()
    parser.receive_data(two_lengths())
    with pytest.raises(h11.RemoteProtocolError, match="not both"):
        parser.next_event()


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES - 100, MAX_HEADER_BYTES + 2**14])
def test_the_size_of_a_header_is_limited(size: int) -> None:
    parser = Parser()
    parser.receive_data(many_header_lines(size))
    if size < MAX_HEADER_BYTES:
        assert isinstance(parser.next_event(), h11.Request)
    else:
        with pytest.raises(h11.RemoteProtocolError):
            parser.next_event()
