"""Middleware for every request: request id, trace, security headers, access log, metrics."""

import ipaddress
import logging
import re
import time
import uuid
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import HeaderTooLarge
from ..logs import request_id as log_request_id
from ..metrics import Metrics
from .headers import SECURITY
from .problems import problem_response
from .tracing import UNTRACED, Span, span

log = logging.getLogger("app.access")

CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that disconnects before the response
# Bounds on the request line and header together. Every header lookup scans all lines and every
# byte of the query is parsed, so both cost CPU time. The HTTP parser alone allows 32 KiB.
MAX_LINES = 100
MAX_BYTES = 2**14
_MAX_ADDRESS_LENGTH = 45  # an IPv6 address with an embedded IPv4 address
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}


@dataclass
class _Exchange:
    """A request and its response so far."""

    request_id: str
    span: Span | None
    status: int = 500  # until a response starts
    started: bool = False
    disconnected: bool = False  # before a response started
    bytes_in: int = 0
    bytes_out: int = 0
    start: float = field(default_factory=time.perf_counter)


class Access:
    """ASGI middleware that wraps the whole application.

    Accepts or creates the X-Request-ID and returns it; rejects a header that is too large; handles
    HEAD as GET without a body; adds the security headers; logs and counts each request, probes and
    scrapes at the level debug. A request whose client disconnects is logged with status 499.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        received_id = headers.get("x-request-id", "")
        request_id = received_id if _REQUEST_ID.fullmatch(received_id) else uuid.uuid4().hex
        exchange = _Exchange(request_id, span(headers))
        scope.setdefault("state", {})["request_id"] = request_id
        log_request_id.set(request_id)  # not reset: the server logs tracebacks after we return
        # Copy the scope: the server needs the original method to leave out the body of a HEAD.
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def counting_receive() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                exchange.disconnected = exchange.disconnected or not exchange.started
            exchange.bytes_in += len(message.get("body", b""))
            return message

        async def counting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status, exchange.started = message["status"], True
                self._add_headers(MutableHeaders(scope=message), exchange, scope)
            elif scope["method"] == "HEAD":
                message = {**message, "body": b""}
            exchange.bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            app = _reject if _is_too_large(scope) else self._app
            await app(inner, counting_receive, counting_send)
        except ClientDisconnect:
            exchange.disconnected = True  # no one is left to receive a response
        finally:
            self._record(scope, inner, exchange)

    @staticmethod
    def _add_headers(headers: MutableHeaders, exchange: _Exchange, scope: Scope) -> None:
        headers["X-Request-ID"] = exchange.request_id
        if exchange.span is not None:
            headers["traceresponse"] = exchange.span.traceresponse
        for name, value in SECURITY.items():
            headers.setdefault(name, value)
        service = getattr(scope["app"].state, "service", None)
        if service is not None and service.status == "draining":
            headers["Connection"] = "close"  # so that the next request goes to another replica

    def _record(self, scope: Scope, inner: Scope, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.start
        status = CLIENT_CLOSED_REQUEST if exchange.disconnected else exchange.status
        # The router sets the route. Unknown paths share one time series.
        route = getattr(inner.get("route"), "path", "_other")
        style = scope["state"].get("style", "")
        self._metrics.requests.labels(route, str(status), style).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        fields = {
            "method": method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 6),
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
            "style": style or None,
            "client": _address(scope),
        }
        if exchange.span is not None:
            fields |= {"trace_id": exchange.span.trace_id, "span_id": exchange.span.span_id}
        level = logging.DEBUG if route in UNTRACED else logging.INFO
        log.log(level, "%s %s %d", method, route, status, extra={"fields": fields})


def _is_too_large(scope: Scope) -> bool:
    headers = scope["headers"]
    size = len(scope.get("raw_path", b"")) + len(scope["query_string"])
    return (
        len(headers) > MAX_LINES
        or size + sum(len(name) + len(value) for name, value in headers) > MAX_BYTES
    )


async def _reject(scope: Scope, receive: Receive, send: Send) -> None:
    error = HeaderTooLarge(
        f"the request line and the header exceed {MAX_BYTES:,} bytes or {MAX_LINES} lines"
    )
    await problem_response(error, scope["state"]["request_id"])(scope, receive, send)


def _address(scope: Scope) -> str | None:
    # A trusted gateway may forward any text in X-Forwarded-For; log only valid addresses.
    host: str = (scope.get("client") or [""])[0]
    try:
        return str(ipaddress.ip_address(host)) if len(host) <= _MAX_ADDRESS_LENGTH else None
    except ValueError:
        return None
