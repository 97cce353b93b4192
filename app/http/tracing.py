"""W3C Trace Context (https://www.w3.org/TR/trace-context/) and OpenTelemetry."""

import re
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from starlette.datastructures import Headers

from ..errors import SettingsError

_TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}"
    r"-[0-9a-f]{2}(?P<more>-.*)?"  # versions above 00 may have more fields
)
UNTRACED = ("/healthz", "/readyz", "/metrics")  # probes and scrapes, which would drown the rest


@dataclass(frozen=True)
class Span:
    """The server's span in a trace, with ids of 32 and 16 lower-case hexadecimal digits."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceresponse(self) -> str:
        """The value of the `traceresponse` header, which gives the client this span's ids."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def span(headers: Headers) -> Span | None:
    """Return OpenTelemetry's current span, or a child of a valid `traceparent`, or None.

    Repeated or invalid `traceparent` headers are ignored, as the standard says.
    """
    current = trace.get_current_span().get_span_context()
    if current.is_valid:
        sampled = current.trace_flags.sampled
        return Span(f"{current.trace_id:032x}", f"{current.span_id:016x}", sampled)
    received = headers.getlist("traceparent")
    found = _TRACEPARENT.fullmatch(received[0]) if len(received) == 1 else None
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    return Span(found["trace"], secrets.token_hex(8), sampled=False)  # not recorded


def telemetry(enabled: bool) -> TelemetryConfig:
    """Return FastAPI's OpenTelemetry configuration: all off, or read from the OTEL_ variables.

    Raises SettingsError if the packages are not installed.
    """
    if not enabled:
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    try:
        found = find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise SettingsError(
            "PASTICHE_OPENTELEMETRY: the otel extra is missing: pip install 'pastiche-server[otel]'"
        )

    def is_untraced(scope: MutableMapping[str, Any]) -> bool:
        return scope.get("path") in UNTRACED

    return {"auto_configure": True, "exclude": is_untraced}
