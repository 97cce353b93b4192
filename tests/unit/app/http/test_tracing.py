import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from importlib.util import find_spec

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from app.errors import SettingsError
from app.http.tracing import span, telemetry
from tests.tools.stub import answering

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    "sent", [f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00", f"cc-{TRACE}-{PARENT}-01-more"]
)
def test_a_valid_traceparent_is_continued_with_a_new_span(sent: str) -> None:
    found = span(Headers({"traceparent": sent}))
    assert found
    assert found.trace_id == TRACE
    assert re.fullmatch(r"[0-9a-f]{16}", found.span_id)
    assert found.span_id != PARENT
    assert found.traceresponse == f"00-{TRACE}-{found.span_id}-00"


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-1",
        f"cc-{TRACE}-{PARENT}-01more",
        f"00-{TRACE}-{PARENT}-01\n",
        "0" * 10_000,
    ],
)
def test_an_invalid_traceparent_is_ignored(sent: str) -> None:
    assert span(Headers({"traceparent": sent})) is None


def test_a_repeated_traceparent_is_ignored() -> None:
    header = (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())
    assert span(Headers(raw=[header])) is not None
    assert span(Headers(raw=[header, header])) is None


def test_response_and_log_contain_the_trace(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "app.access"):
        response = client.get("/styles", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        without = client.get("/styles")
    _, trace, own, _ = response.headers["traceresponse"].split("-")
    assert trace == TRACE
    assert "traceresponse" not in without.headers
    first, second = (r.__dict__["fields"] for r in caplog.records if r.name == "app.access")
    assert (first["trace_id"], first["span_id"]) == (TRACE, own)
    assert "trace_id" not in second


def test_opentelemetry_is_off_by_default() -> None:
    assert not any(telemetry(False).values())


@pytest.mark.skipif(
    find_spec("opentelemetry.exporter") is not None, reason="the otel extra is installed"
)
def test_opentelemetry_without_its_packages_raises_with_their_name() -> None:
    with pytest.raises(SettingsError, match=r"PASTICHE_OPENTELEMETRY.*pastiche\[otel\]"):
        telemetry(True)


@pytest.fixture
def collector() -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield the port of a collector, and the bytes it has received on each path."""
    got: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            got[self.path] = got.get(self.path, b"") + content
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with answering(Handler) as port:
        yield port, got


CALL = f"""
from starlette.testclient import TestClient
from app.http.server import create_app
from app.settings import read_settings
with TestClient(create_app(read_settings(models="nowhere", device="cpu"))) as client:
    client.get("/healthz")
    response = client.get("/styles", headers={{"traceparent": "00-{TRACE}-{PARENT}-01"}})
    print(response.headers["traceresponse"])
"""


@pytest.mark.parametrize("enabled", [True, False])
def test_spans_reach_a_collector_only_if_enabled(
    enabled: bool, collector: tuple[int, dict[str, bytes]]
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    port, got = collector
    environment = {
        **os.environ,
        "PASTICHE_OPENTELEMETRY": str(int(enabled)),
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",  # must be ignored
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
    }
    done = subprocess.run(
        [sys.executable, "-c", CALL], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    _, trace, own, sampled = done.stdout.strip().split("-")
    assert trace == TRACE
    assert sampled == f"{int(enabled):02d}"
    sent = got.get("/v1/traces", b"")
    assert (bytes.fromhex(TRACE) in sent) is enabled
    assert (bytes.fromhex(own) in sent) is enabled
    assert b"/healthz" not in sent
