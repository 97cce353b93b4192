"""One connection of a caller, bounded in time where Uvicorn would wait for ever."""

import asyncio
import uuid
from typing import Any

import h11
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from app.errors import Overloaded, PasticheError, RequestError, RequestTimeout
from app.problems import problem_response
from app.settings import Settings


class Connection(H11Protocol):
    """Uvicorn's, but a caller has so long for a request's header and for taking an answer.

    What never reaches the application is answered here, with problem documents too: a header that
    does not come, bytes that are not HTTP, one connection too many.
    """

    def __init__(self, settings: Settings, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._settings = settings
        self._header: asyncio.TimerHandle | None = None
        self._answer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a header."""
        super().connection_made(transport)
        if len(self.connections) > self._settings.connections:
            self.app = _crowded
        self._wait_for_header()

    def data_received(self, data: bytes) -> None:
        """Take what came; wait for the rest of the header, if it is not all there yet."""
        super().data_received(data)
        # Also while the rest of a body comes whose request has been answered already.
        if self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE:
            self._wait_for_header()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stop_waiting()
        self._taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the caller to take the answer: more of it is ready than the network takes."""
        super().pause_writing()
        self._answer = self.loop.call_later(self._settings.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The caller has taken it."""
        self._taken()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP."""
        self._refuse(RequestError("these bytes are not HTTP/1.1, or the header is too long"))

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

    def _give_up(self) -> None:
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            seconds = self._settings.header_seconds
            self._refuse(RequestTimeout(f"the header did not come within {seconds:g} s"))
        self.transport.close()

    def _refuse(self, error: PasticheError) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
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
        self.transport.close()


async def _crowded(scope: Scope, receive: Receive, send: Send) -> None:
    error = Overloaded("there are too many connections", retry_after=1)
    await _closing(error)(scope, receive, send)


def _closing(error: PasticheError) -> Response:
    response = problem_response(error, uuid.uuid4().hex)
    response.headers["Connection"] = "close"
    return response
