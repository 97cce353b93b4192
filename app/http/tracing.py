"""W3C Trace Context (https://www.w3.org/TR/trace-context/), and OpenTelemetry where wanted."""

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
    r"-[0-9a-f]{2}(?P<more>-.*)?"  # later versions than 00 may have more
)
UNTRACED = ("/healthz", "/readyz", "/metrics")


@dataclass(frozen=True)
class Span:
    """Our part of a trace: ids in lower-case hexadecimal, of 32 and of 16 digits."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceresponse(self) -> str:
        """The header that tells the caller where in its trace the answer was made."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def span(headers: Headers) -> Span | None:
    """The span that OpenTelemetry has begun; else one below a valid `traceparent`; else None.

    There is one header or none; two, or one that is not as the standard has it, count as none.
    """
    current = trace.get_current_span().get_span_context()
    if current.is_valid:
        sampled = current.trace_flags.sampled
        return Span(f"{current.trace_id:032x}", f"{current.span_id:016x}", sampled)
    sent = headers.getlist("traceparent")
    found = _TRACEPARENT.fullmatch(sent[0]) if len(sent) == 1 else None
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    return Span(found["trace"], secrets.token_hex(8), sampled=False)  # nothing records it


def telemetry(wanted: bool) -> TelemetryConfig:
    """FastAPI's own OpenTelemetry, all off or configured by the standard OTEL_ variables.

    Raises SettingsError if the packages are missing.
    """
    if not wanted:
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    try:
        found = find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise SettingsError(
            "PASTICHE_OPENTELEMETRY: the otel extra is missing: pip install 'pastiche-server[otel]'"
        )

    def probe(scope: MutableMapping[str, Any]) -> bool:
        return scope.get("path") in UNTRACED

    return {"auto_configure": True, "exclude": probe}
