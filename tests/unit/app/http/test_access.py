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


def told(caplog: pytest.LogCaptureFixture) -> Fields:
    """The fields of the one access line."""
    (record,) = (r for r in caplog.records if r.name == "app.http.access")
    fields: Fields = record.__dict__["fields"]
    return fields


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app.http.access")


def test_the_access_line_tells_what_was_asked_and_answered(
    client: TestClient, jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    answer = client.post(
        "/stylize?style=warm", content=jpeg, headers={"Content-Type": "image/jpeg"}
    )
    fields = told(caplog)
    assert fields.pop("seconds") > 0
    assert fields == {
        "method": "POST",
        "route": "/stylize",
        "status": 200,
        "bytes_in": len(jpeg),
        "bytes_out": len(answer.content),
        "style": "warm",
        "client": None,  # the client of the tests has no address
    }


NASTY = ["a\nb", "a\r\nlevel: x", "\x00\x1b[2J", '"}{"', "x" * 10_000, "é"]


@pytest.mark.parametrize("value", NASTY, ids=range(len(NASTY)))
def test_nothing_that_a_caller_sends_reaches_the_log_unchecked(
    settings: Settings, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = [(b"x-request-id", value.encode()), (b"traceparent", value.encode())]
    scope = scope_of(value, f"/{value}", headers, client=(value, 1))
    with TestClient(create_app(settings)) as client:
        caplog.clear()
        assert client.portal is not None
        client.portal.call(partial(exchange, client.app, scope))
    (record,) = (r for r in caplog.records if r.name == "app.http.access")
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
    """What an application sends for what it receives."""
    messages = iter(incoming or ({"type": "http.request"},))
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        message = next(messages, None)
        if message is None:
            await asyncio.Event().wait()  # nothing more comes
        assert message is not None
        return message

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::1"])
def test_the_callers_address_is_told_if_it_is_one(
    settings: Settings, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    with TestClient(create_app(settings)) as client:
        caplog.clear()
        assert client.portal is not None
        scope = scope_of("GET", "/healthz", client=(address, 1))
        client.portal.call(partial(exchange, client.app, scope))
    assert told(caplog)["client"] == address


def test_a_caller_who_leaves_while_sending_is_logged_and_counted_as_499(
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
    assert (told(caplog)["status"], told(caplog)["bytes_in"]) == (499, 4)
    counted = 'pastiche_requests_total{route="/stylize",status="499",style=""} 1.0'
    assert counted in client.get("/metrics").text


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/styles", "/styles/warm/preview", "/docs", "/nothing"]
)
def test_head_answers_as_get_without_a_body(client: TestClient, path: str) -> None:
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
def test_a_header_that_is_too_large_is_refused(
    client: TestClient, path: str, headers: dict[str, str]
) -> None:
    answer = client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (431, "header_too_large")
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"]


def test_a_header_of_the_usual_size_is_read(client: TestClient) -> None:
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

    def fail(*_: object) -> None:
        record = logging.LogRecord("app", logging.ERROR, "", 1, "inside", (), None)
        seen.append(json.loads(JsonFormatter().format(record))["request_id"])
        raise RuntimeError

    monkeypatch.setattr("app.engine.pipeline.read_header", fail)
    answer = client.post(
        "/stylize?style=warm", files={"image": jpeg}, headers={"X-Request-ID": "mine-1"}
    )
    assert answer.status_code == 500
    assert seen == ["mine-1"]


def test_a_draining_server_asks_callers_to_connect_anew(client: TestClient) -> None:
    assert "Connection" not in client.get("/healthz").headers
    client.app.state.draining = True  # type: ignore[attr-defined]
    assert client.get("/healthz").headers["Connection"] == "close"


def test_an_id_of_the_callers_is_the_logs_too(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    answer = client.get("/healthz", headers={"X-Request-ID": "x" * 64})
    assert answer.headers["X-Request-ID"] == "x" * 64
    other = client.get("/healthz", headers={"X-Request-ID": "x" * 65})
    assert re.fullmatch(r"[0-9a-f]{32}", other.headers["X-Request-ID"])
