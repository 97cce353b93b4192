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
def test_a_valid_traceparent_is_continued_with_a_span_of_our_own(sent: str) -> None:
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
def test_another_is_as_none(sent: str) -> None:
    assert span(Headers({"traceparent": sent})) is None


def test_two_are_as_none() -> None:
    header = (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())
    assert span(Headers(raw=[header])) is not None
    assert span(Headers(raw=[header, header])) is None


def test_the_answer_and_the_log_tell_the_trace(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "app.http.access"):
        answer = client.get("/healthz", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        without = client.get("/healthz")
    _, trace, own, _ = answer.headers["traceresponse"].split("-")
    assert trace == TRACE
    assert "traceresponse" not in without.headers
    first, second = (r.__dict__["fields"] for r in caplog.records if r.name == "app.http.access")
    assert (first["trace_id"], first["span_id"]) == (TRACE, own)
    assert "trace_id" not in second


def test_opentelemetry_is_off_unless_it_is_wanted() -> None:
    assert not any(telemetry(False).values())


@pytest.mark.skipif(
    find_spec("opentelemetry.exporter") is not None, reason="the otel extra is installed"
)
def test_without_its_packages_it_stops_the_start_with_their_name() -> None:
    with pytest.raises(SettingsError, match=r"PASTICHE_OPENTELEMETRY.*pastiche\[otel\]"):
        telemetry(True)


@pytest.fixture
def collector() -> Iterator[tuple[int, dict[str, bytes]]]:
    """A collector's port, and what was sent to each of its paths."""
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
    answer = client.get("/styles", headers={{"traceparent": "00-{TRACE}-{PARENT}-01"}})
    print(answer.headers["traceresponse"])
"""


@pytest.mark.parametrize("wanted", [True, False])
def test_spans_reach_a_collector_only_if_wanted(
    wanted: bool, collector: tuple[int, dict[str, bytes]]
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    port, got = collector
    environment = {
        **os.environ,
        "PASTICHE_OPENTELEMETRY": str(int(wanted)),
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",  # must not matter
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
    }
    done = subprocess.run(
        [sys.executable, "-c", CALL], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    _, trace, own, sampled = done.stdout.strip().split("-")
    assert trace == TRACE
    assert sampled == f"{int(wanted):02d}"
    sent = got.get("/v1/traces", b"")
    assert (bytes.fromhex(TRACE) in sent) is wanted
    assert (bytes.fromhex(own) in sent) is wanted
    assert b"/healthz" not in sent
