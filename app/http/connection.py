"""A client's connection, bounded in time, bytes and work, and one of a bounded number."""

import asyncio
import socket
import uuid
from functools import partial
from typing import Any

import h11
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from ..errors import MalformedBody, Overloaded, PasticheError, RequestError, RequestTimeout
from ..settings import Settings
from .answers import Answers
from .parser import LARGEST_HEADER, Parser
from .problems import problem_response

# Above the limit, for requests to these paths: an orchestrator must not restart a busy server.
RESERVE = 64
PROBES = frozenset({"/healthz", "/readyz"})

PIECE = 64 * 1024  # bytes of an answer that are written at a time
SLOWEST = 32 * 1024  # bytes a second at which a large answer must be taken
LINGER = 2.0  # seconds for a client to take a refusal while it still sends
SMALLEST_READ = 4096  # what a read counts at least, of those that are dropped
PRESENCE = 0.1  # seconds between looks at whether a client that sends no more still listens


class Connections:
    """All connections of a server; makes them, and closes idle ones when there are too many."""

    def __init__(self, settings: Settings, answers: Answers, limit: int | None = None) -> None:
        """limit: instead of `settings.connections`."""
        self.settings, self.answers = settings, answers
        self._limit = limit or settings.connections
        self._idle: dict[Connection, None] = {}  # the longest idle first

    def __call__(self, **uvicorns: Any) -> "Connection":
        """A connection, with Uvicorn's arguments."""
        return Connection(self, **uvicorns)

    def admit(self, new: "Connection") -> bool:
        """Make room for a connection; whether it may ask for more than a probe.

        When there are too many, the one that has waited longest for a request is closed.
        """
        count = len(new.connections)
        regular = True
        if count > self._limit:
            regular = self._close_idle(reserved=False)
            if not regular and count > self._limit + RESERVE:
                self._close_idle(reserved=True)
        self._idle[new] = None
        return regular

    def mark(self, connection: "Connection", *, idle: bool) -> None:
        """Note whether a connection waits for a request."""
        if not idle:
            self._idle.pop(connection, None)
        else:
            self._idle.setdefault(connection)

    def _close_idle(self, *, reserved: bool) -> bool:
        for connection in self._idle:
            if connection.is_reserved == reserved:
                del self._idle[connection]
                connection.give_way()
                return True
        return False


class Connection(H11Protocol):
    """Uvicorn's, with bounds on how long and with how much a client may keep it busy.

    What never reaches the application is answered here, with problem documents too: a header that
    does not come, bytes that are not HTTP, one connection too many.
    """

    def __init__(self, shared: Connections, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self.is_reserved = False  # above the limit: for probes only
        self.conn: Parser = Parser()
        self._shared, self._settings = shared, shared.settings
        self._application, self.app = self.app, self._serve
        self._header: asyncio.TimerHandle | None = None
        self._answer: asyncio.TimerHandle | None = None
        self._presence: asyncio.TimerHandle | None = None
        self._half_closed = self._lingering = False
        self._dropped = 0  # bytes that nobody reads any more

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a header."""
        super().connection_made(transport)
        # So that `pause_writing` is called for whatever the client has not taken.
        transport.set_write_buffer_limits(high=0)
        self.is_reserved = not self._shared.admit(self)
        self._wait_for_header()

    def data_received(self, data: bytes) -> None:
        """Handle what came; wait for the rest of the header, if it is not all there yet."""
        answered = self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY
        if self._lingering or answered:
            self._dropped += max(len(data), SMALLEST_READ)
            if self._dropped > self._settings.max_body_bytes:
                self.transport.close()
                return
        if self._lingering:
            return
        super().data_received(data)
        if self._lingering:
            return
        self._shared.mark(self, idle=not self.is_busy)
        # Also while the rest of a body comes whose request has been answered already.
        if self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE:
            self._wait_for_header()
        else:
            self._stop_waiting()
            self._dropped = 0

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; whether it may still get an answer."""
        if self._lingering or not self.is_busy:
            return False
        if self.conn.their_state is h11.SEND_BODY:
            self._refuse(MalformedBody("the connection ended before the body was complete"))
            return False
        if self.scope["http_version"] == "1.0":  # which does not know 100 Continue
            return False
        if not self._half_closed:
            self._half_closed = True
            if self.conn.our_state is h11.SEND_RESPONSE:
                # A client that has only stopped sending passes over it. One that has closed the
                # connection answers with a reset, by which the two can be told apart.
                proceed = h11.InformationalResponse(
                    status_code=100, headers=[], reason=STATUS_PHRASES[100]
                )
                self.transport.write(self.conn.send(proceed))
                self.cycle.waiting_for_100_continue = False
            self._look_for_client()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stop_waiting()
        self._taken()
        if self._presence is not None:
            self._presence.cancel()
        self._shared.mark(self, idle=False)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to take what was written."""
        super().pause_writing()
        self._answer = self.loop.call_later(self._settings.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has taken it."""
        self._taken()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Begin the next request, if it has come."""
        super().on_response_complete()
        if self._lingering:
            return
        self._shared.mark(self, idle=not self.is_busy)
        if self._half_closed and not self.is_busy:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refuses."""
        broken = f"the bytes are not HTTP/1.1, or the header exceeds {LARGEST_HEADER:,} bytes"
        self._refuse(RequestError(self.conn.refusal or broken))

    def give_way(self) -> None:
        """Close the connection, on which no request is under way, for another one."""
        self.connections.discard(self)
        self.transport.abort()

    def shutdown(self) -> None:
        """Finish the request that is under way, take no other."""
        if self._lingering:
            self.transport.close()
        else:
            super().shutdown()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.is_reserved and scope["path"] not in PROBES:
            error = Overloaded("there are too many connections", retry_after=1)
            await _closing(error)(scope, receive, send)
        else:
            await self._application(scope, receive, partial(self._send, send))

    async def _send(self, send: Send, message: Message) -> None:
        if message["type"] == "http.response.start" and self.is_reserved:
            headers = [h for h in message.get("headers", []) if h[0] != CLOSE_HEADER[0]]
            message = {**message, "headers": [*headers, CLOSE_HEADER]}
        body = message.get("body", b"")
        if len(body) <= PIECE:
            await send(message)
            return
        # In pieces, so that h11 and the transport never copy the whole.
        with self._shared.answers.hold(len(body)):
            seconds = self._settings.answer_seconds + len(body) / SLOWEST
            deadline = self.loop.call_later(seconds, self.transport.abort)
            try:
                for start in range(0, len(body), PIECE):
                    more = message.get("more_body", False) or start + PIECE < len(body)
                    piece = body[start : start + PIECE]
                    await send({**message, "body": piece, "more_body": more})
            finally:
                deadline.cancel()

    def _wait_for_header(self) -> None:
        if self._header is None and not self.transport.is_closing():
            seconds = self._settings.header_seconds
            self._header = self.loop.call_later(seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._header is not None:
            self._header.cancel()
            self._header = None

    def _taken(self) -> None:
        if self._answer is not None:
            self._answer.cancel()
            self._answer = None

    def _look_for_client(self) -> None:
        if self.transport.is_closing() or not self.is_busy:
            return
        connected: socket.socket = self.transport.get_extra_info("socket")
        if connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        else:
            self._presence = self.loop.call_later(PRESENCE, self._look_for_client)

    def _give_up(self) -> None:
        if self.conn.their_state is h11.IDLE and self.conn.has_begun:
            seconds = self._settings.header_seconds
            self._refuse(RequestTimeout(f"the header did not come within {seconds:g} s"))
        else:
            self.transport.close()

    def _refuse(self, error: PasticheError) -> None:
        if self.is_busy:
            self.cycle.disconnected = True  # what the application still says is for nobody
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = _closing(error)
            reason = STATUS_PHRASES[answer.status_code]
            head = h11.Response(
                status_code=answer.status_code, headers=answer.raw_headers, reason=reason
            )
            for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        # Closed at once, with bytes unread, the connection would be reset and the answer lost.
        self._lingering = True
        self._unset_keepalive_if_required()
        self._stop_waiting()
        self._shared.mark(self, idle=True)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._header = self.loop.call_later(LINGER, self.transport.close)


def _closing(error: PasticheError) -> Response:
    response = problem_response(error, uuid.uuid4().hex)
    response.headers["Connection"] = "close"
    return response
