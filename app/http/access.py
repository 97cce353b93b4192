"""What wraps every request: an id, its trace, safe headers, a log line, a count."""

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
from ..logs import request_id as id_of_logs
from ..metrics import Metrics
from .headers import SECURITY
from .problems import problem_response
from .tracing import Span, span

log = logging.getLogger("app.access")

CLIENT_LEFT = 499  # nginx' number for a caller that did not wait for the answer
# Of a header. Each line costs CPU time whenever another is looked up, each byte of a query when it
# is parsed; the HTTP parser below lets 64 KiB pass.
MAX_LINES = 100
MAX_BYTES = 2**14
_LONGEST_ADDRESS = 45  # of IPv6 with an IPv4 address inside
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}


@dataclass
class _Exchange:
    """What is known of a request and its answer so far."""

    request_id: str
    span: Span | None
    status: int = 500  # unless something answers
    started: bool = False
    left: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    began: float = field(default_factory=time.perf_counter)


class Access:
    """ASGI middleware around everything.

    Takes or makes the X-Request-ID and answers with it; refuses a header that is too large; answers
    HEAD as GET without a body; adds the security headers; logs and counts each request, one whose
    caller left as status 499.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sent = headers.get("x-request-id", "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        exchange = _Exchange(request_id, span(headers))
        scope.setdefault("state", {})["request_id"] = request_id
        id_of_logs.set(request_id)  # not reset: the server logs a traceback behind us
        # A copy: the server below must still see a HEAD for what it is.
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def receive_counted() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                exchange.left = exchange.left or not exchange.started
            exchange.bytes_in += len(message.get("body", b""))
            return message

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status, exchange.started = message["status"], True
                self._mark(MutableHeaders(scope=message), exchange, scope)
            elif scope["method"] == "HEAD":
                message = {**message, "body": b""}
            exchange.bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            app = _refused if _is_too_large(scope) else self._app
            await app(inner, receive_counted, send_marked)
        except ClientDisconnect:
            exchange.left = True  # there is nobody to tell
        finally:
            self._tell(scope, inner, exchange)

    @staticmethod
    def _mark(headers: MutableHeaders, exchange: _Exchange, scope: Scope) -> None:
        headers["X-Request-ID"] = exchange.request_id
        if exchange.span is not None:
            headers["traceresponse"] = exchange.span.traceresponse
        for name, value in SECURITY.items():
            headers.setdefault(name, value)
        if getattr(scope["app"].state, "draining", False):
            headers["Connection"] = "close"  # the next request goes to another replica

    def _tell(self, scope: Scope, inner: Scope, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.began
        status = CLIENT_LEFT if exchange.left else exchange.status
        # Set by the router; unknown paths share one series.
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
        log.info("%s %s %d", method, route, status, extra={"fields": fields})


def _is_too_large(scope: Scope) -> bool:
    headers = scope["headers"]
    size = len(scope.get("raw_path", b"")) + len(scope["query_string"])
    return (
        len(headers) > MAX_LINES
        or size + sum(len(name) + len(value) for name, value in headers) > MAX_BYTES
    )


async def _refused(scope: Scope, receive: Receive, send: Send) -> None:
    error = HeaderTooLarge(
        f"the request line and the header have more than {MAX_BYTES:,} bytes, "
        f"or more than {MAX_LINES} lines"
    )
    await problem_response(error, scope["state"]["request_id"])(scope, receive, send)


def _address(scope: Scope) -> str | None:
    # A gateway hands on whatever it was given as X-Forwarded-For.
    host: str = (scope.get("client") or [""])[0]
    try:
        return str(ipaddress.ip_address(host)) if len(host) <= _LONGEST_ADDRESS else None
    except ValueError:
        return None
