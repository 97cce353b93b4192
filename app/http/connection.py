"""Client connections: bounded in number, and each in time, bytes and work."""

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
from .parser import MAX_HEADER_BYTES, Parser
from .problems import problem_response

# Connections above the limit, for probes only: an orchestrator must not restart a busy server.
RESERVE = 64
PROBES = frozenset({"/healthz", "/readyz"})

READ_BYTES = 16 * 1024  # of a request, per read; bounds the CPU time of a turn of the event loop
WRITE_BYTES = 64 * 1024  # of a response, per write
MIN_RATE = 32 * 1024  # bytes per second at which a client must receive a large response
LINGER_SECONDS = 2.0  # for a client to read an error response while it is still sending
MIN_READ_BYTES = 4096  # what a discarded read counts at least
POLL_SECONDS = 0.1  # between checks whether a half-closed client is still connected


class Connections:
    """Creates the connections of a server, and closes idle ones when there are too many."""

    def __init__(self, settings: Settings, answers: Answers, limit: int | None = None) -> None:
        """limit: overrides `settings.connections`."""
        self.settings, self.answers = settings, answers
        self._limit = limit or settings.connections
        self._idle: dict[Connection, None] = {}  # longest idle first

    def __call__(self, **kwargs: Any) -> "Connection":
        """Create a connection with Uvicorn's arguments."""
        return Connection(self, **kwargs)

    def admit(self, new: "Connection") -> bool:
        """Make room for a connection. Return False if it may only send probes.

        Above the limit, the connection that has been idle longest is closed.
        """
        count = len(new.connections)
        regular = True
        if count > self._limit:
            regular = self._close_idle(reserved=False)
            if not regular and count > self._limit + RESERVE:
                self._close_idle(reserved=True)
        self._idle[new] = None
        return regular

    def set_idle(self, connection: "Connection", idle: bool) -> None:
        """Record whether a connection is waiting for a request."""
        if not idle:
            self._idle.pop(connection, None)
        else:
            self._idle.setdefault(connection)

    def _close_idle(self, *, reserved: bool) -> bool:
        for connection in self._idle:
            if connection.is_reserved == reserved:
                del self._idle[connection]
                connection.evict()
                return True
        return False


class Connection(H11Protocol):
    """A Uvicorn connection with limits on the time and work that a client can cost.

    Sends problem documents itself for requests that never reach the application: a header that
    does not arrive, bytes that are not HTTP, a connection above the limit.
    """

    def __init__(self, shared: Connections, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.is_reserved = False  # above the limit, for probes only
        self.conn: Parser = Parser()
        self._shared, self._settings = shared, shared.settings
        self._application, self.app = self.app, self._serve
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._poll_timer: asyncio.TimerHandle | None = None
        self._half_closed = self._lingering = False
        self._discarded = 0  # bytes received after the response

    @property
    def is_busy(self) -> bool:
        """Whether a request is in progress."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for a header."""
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        # So that `pause_writing` is called whenever the client has not received everything.
        transport.set_write_buffer_limits(high=0)
        self.is_reserved = not self._shared.admit(self)
        self._start_header_timer()

    def data_received(self, data: bytes) -> None:
        """Handle received bytes, and limit the time for the rest of an incomplete header."""
        responded = self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY
        if self._lingering or responded:
            self._discarded += max(len(data), MIN_READ_BYTES)
            if self._discarded > self._settings.max_body_bytes:
                self.transport.close()
                return
        if self._lingering:
            return
        super().data_received(data)
        if self._lingering:
            return
        self._shared.set_idle(self, not self.is_busy)
        # The timer also runs while a body arrives after its response was sent.
        if self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE:
            self._start_header_timer()
        else:
            self._cancel_header_timer()
            self._discarded = 0

    def eof_received(self) -> bool:  # type: ignore[override]
        """Handle the end of the client's stream. Return True to keep the connection open."""
        if self._lingering or not self.is_busy:
            return False
        if self.conn.their_state is h11.SEND_BODY:
            self._reject(MalformedBody("the connection ended before the body was complete"))
            return False
        if self.scope["http_version"] == "1.0":  # has no 100 Continue
            return False
        if not self._half_closed:
            self._half_closed = True
            if self.conn.our_state is h11.SEND_RESPONSE:
                # Send 100 Continue to find out whether the client is still connected: one that
                # has only stopped sending ignores it, one that has closed replies with a reset.
                proceed = h11.InformationalResponse(
                    status_code=100, headers=[], reason=STATUS_PHRASES[100]
                )
                self.transport.write(self.conn.send(proceed))
                self.cycle.waiting_for_100_continue = False
            self._poll_client()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        self._cancel_header_timer()
        self._cancel_write_timer()
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        self._shared.set_idle(self, False)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Limit the time for the client to receive what was written."""
        super().pause_writing()
        seconds = self._settings.answer_seconds
        self._write_timer = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Continue writing after the client has received everything so far."""
        self._cancel_write_timer()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Start the next request if it has arrived."""
        super().on_response_complete()
        if self._lingering:
            return
        self._shared.set_idle(self, not self.is_busy)
        if self._half_closed and not self.is_busy:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Respond to a request that the parser rejects."""
        invalid = f"the bytes are not HTTP/1.1, or the header exceeds {MAX_HEADER_BYTES:,} bytes"
        self._reject(RequestError(self.conn.rejection or invalid))

    def evict(self) -> None:
        """Close the connection, which is idle, to make room for another one."""
        self.connections.discard(self)
        self.transport.abort()

    def shutdown(self) -> None:
        """Finish the request in progress and accept no other."""
        if self._lingering:
            self.transport.close()
        else:
            super().shutdown()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.is_reserved and scope["path"] not in PROBES:
            error = Overloaded("the server has too many connections", retry_after=1)
            await _closing_response(error)(scope, receive, send)
        else:
            await self._application(scope, receive, partial(self._send, send))

    async def _send(self, send: Send, message: Message) -> None:
        if message["type"] == "http.response.start" and self.is_reserved:
            headers = [h for h in message.get("headers", []) if h[0] != CLOSE_HEADER[0]]
            message = {**message, "headers": [*headers, CLOSE_HEADER]}
        body = message.get("body", b"")
        if len(body) <= WRITE_BYTES:
            await send(message)
            return
        # Write in pieces, so that h11 and the transport never copy the whole body.
        with self._shared.answers.hold(len(body)):
            seconds = self._settings.answer_seconds + len(body) / MIN_RATE
            deadline = self.loop.call_later(seconds, self.transport.abort)
            try:
                for start in range(0, len(body), WRITE_BYTES):
                    end = start + WRITE_BYTES
                    more = message.get("more_body", False) or end < len(body)
                    await send({**message, "body": body[start:end], "more_body": more})
            finally:
                deadline.cancel()

    def _start_header_timer(self) -> None:
        if self._header_timer is None and not self.transport.is_closing():
            seconds = self._settings.header_seconds
            self._header_timer = self.loop.call_later(seconds, self._on_header_timeout)

    def _cancel_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _poll_client(self) -> None:
        if self.transport.is_closing() or not self.is_busy:
            return
        client: socket.socket = self.transport.get_extra_info("socket")
        if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        else:
            self._poll_timer = self.loop.call_later(POLL_SECONDS, self._poll_client)

    def _on_header_timeout(self) -> None:
        if self.conn.their_state is h11.IDLE and self.conn.has_started:
            seconds = self._settings.header_seconds
            self._reject(RequestTimeout(f"the header did not arrive within {seconds:g} s"))
        else:
            self.transport.close()

    def _reject(self, error: PasticheError) -> None:
        if self.is_busy:
            self.cycle.disconnected = True  # discard anything that the application still sends
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = _closing_response(error)
            reason = STATUS_PHRASES[response.status_code]
            head = h11.Response(
                status_code=response.status_code, headers=response.raw_headers, reason=reason
            )
            for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        # Closing a connection with unread bytes would reset it, and the response would be lost.
        self._lingering = True
        self._unset_keepalive_if_required()
        self._cancel_header_timer()
        self._shared.set_idle(self, True)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._header_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)


def _closing_response(error: PasticheError) -> Response:
    response = problem_response(error, uuid.uuid4().hex)
    response.headers["Connection"] = "close"
    return response
