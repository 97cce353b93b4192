import asyncio
import json
import logging
import re
from collections.abc import MutableMapping
from functools import partial
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from app.http.access import MAX_BYTES, MAX_LINES
from app.http.server import create_app
from app.logs import JsonFormatter
from app.settings import Settings

Fields = dict[str, Any]


def logged(caplog: pytest.LogCaptureFixture) -> Fields:
    """Return the fields of the only access line."""
    (record,) = (r for r in caplog.records if r.name == "app.access")
    fields: Fields = record.__dict__["fields"]
    return fields


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app.access")


def test_the_access_line_describes_request_and_response(
    client: TestClient, jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    response = client.post(
        "/stylize?style=warm", content=jpeg, headers={"Content-Type": "image/jpeg"}
    )
    fields = logged(caplog)
    assert fields.pop("seconds") > 0
    assert fields == {
        "method": "POST",
        "route": "/stylize",
        "status": 200,
        "bytes_in": len(jpeg),
        "bytes_out": len(response.content),
        "style": "warm",
        "client": None,  # the test client has no address
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_and_scrapes_are_logged_at_debug_level(
    client: TestClient, method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    client.request(method, path)
    assert not [r for r in caplog.records if r.name == "app.access"]
    with caplog.at_level(logging.DEBUG, "app.access"):
        client.request(method, path)
    assert logged(caplog)["route"] == path


NASTY = ["a\nb", "a\r\nlevel: x", "\x00\x1b[2J", '"}{"', "x" * 10_000, "é"]


@pytest.mark.parametrize("value", NASTY, ids=range(len(NASTY)))
def test_no_input_reaches_the_log_unchecked(
    settings: Settings, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = [(b"x-request-id", value.encode()), (b"traceparent", value.encode())]
    scope = scope_of(value, f"/{value}", headers, client=(value, 1))
    with TestClient(create_app(settings)) as client:
        caplog.clear()
        assert client.portal is not None
        client.portal.call(partial(exchange, client.app, scope))
    (record,) = (r for r in caplog.records if r.name == "app.access")
    line = JsonFormatter().format(record)
    fields = json.loads(line)
    assert value not in json.dumps(list(fields.values()), ensure_ascii=False)
    assert len(line) < 500
    assert (fields["method"], fields["route"], fields["client"]) == ("_OTHER", "_other", None)


def scope_of(
    method: str, path: str, headers: list[tuple[bytes, bytes]] | None = None, **more: object
) -> MutableMapping[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": headers or [],
        **more,
    }


async def exchange(
    app: ASGIApp, scope: MutableMapping[str, Any], *incoming: MutableMapping[str, Any]
) -> list[MutableMapping[str, Any]]:
    """Return the messages an application sends in response to incoming ones."""
    messages = iter(incoming or ({"type": "http.request"},))
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        message = next(messages, None)
        if message is None:
            await asyncio.Event().wait()  # forever: there are no more messages
        assert message is not None
        return message

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::1"])
def test_a_valid_client_address_is_logged(
    settings: Settings, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    with TestClient(create_app(settings)) as client:
        caplog.clear()
        assert client.portal is not None
        scope = scope_of("GET", "/styles", client=(address, 1))
        client.portal.call(partial(exchange, client.app, scope))
    assert logged(caplog)["client"] == address


def test_a_client_that_disconnects_while_sending_is_logged_and_counted_as_499(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    headers = [(b"content-type", b"image/jpeg")]
    scope = scope_of("POST", "/stylize", headers)
    incoming = (
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    )
    caplog.clear()
    assert client.portal is not None
    assert client.portal.call(partial(exchange, client.app, scope, *incoming)) == []
    assert (logged(caplog)["status"], logged(caplog)["bytes_in"]) == (499, 4)
    counted = 'pastiche_requests_total{route="/stylize",status="499",style=""} 1.0'
    assert counted in client.get("/metrics").text


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/styles", "/styles/warm/preview", "/docs", "/nothing"]
)
def test_head_responds_like_get_without_a_body(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    for name in ("Content-Type", "Content-Length", "ETag"):
        assert head.headers.get(name) == got.headers.get(name)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/healthz", {f"x-{number}": "" for number in range(MAX_LINES)}),
        ("/healthz", {"accept": "a," * (MAX_BYTES // 2)}),
        ("/healthz?" + "a=&" * (MAX_BYTES // 3), {}),
        ("/" + "a/" * (MAX_BYTES // 2), {}),
    ],
    ids=["lines", "a header", "the query", "the path"],
)
def test_a_header_that_is_too_large_is_rejected(
    client: TestClient, path: str, headers: dict[str, str]
) -> None:
    response = client.get(path, headers=headers)
    assert (response.status_code, response.json()["code"]) == (431, "header_too_large")
    assert response.headers["X-Request-ID"] == response.json()["request_id"]


def test_a_header_within_the_limits_is_accepted(client: TestClient) -> None:
    few = {f"x-{number}": "" for number in range(MAX_LINES - 10)}
    assert client.get("/healthz", headers=few).status_code == 200
    long = {"cookie": "a" * (MAX_BYTES - 500)}
    assert client.get("/healthz", headers=long).status_code == 200


def test_head_is_allowed_where_get_is(client: TestClient) -> None:
    assert client.put("/styles").headers["Allow"] == "GET, HEAD"
    assert client.head("/stylize").headers["Allow"] == "POST"


def test_a_traceback_in_the_log_has_the_request_id(
    client: TestClient,
    jpeg: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    def fail(*_: object, **__: object) -> None:
        record = logging.LogRecord("app", logging.ERROR, "", 1, "inside", (), None)
        seen.append(json.loads(JsonFormatter().format(record))["request_id"])
        raise RuntimeError

    monkeypatch.setattr("app.engine.pipeline.read_header", fail)
    response = client.post(
        "/stylize?style=warm", files={"image": jpeg}, headers={"X-Request-ID": "mine-1"}
    )
    assert response.status_code == 500
    assert seen == ["mine-1"]


def test_a_draining_server_closes_its_connections(client: TestClient) -> None:
    assert "Connection" not in client.get("/healthz").headers
    client.app.state.service.start_draining()  # type: ignore[attr-defined]
    assert client.get("/healthz").headers["Connection"] == "close"


def test_a_valid_request_id_is_kept_and_a_longer_one_is_replaced(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    response = client.get("/healthz", headers={"X-Request-ID": "x" * 64})
    assert response.headers["X-Request-ID"] == "x" * 64
    other = client.get("/healthz", headers={"X-Request-ID": "x" * 65})
    assert re.fullmatch(r"[0-9a-f]{32}", other.headers["X-Request-ID"])
