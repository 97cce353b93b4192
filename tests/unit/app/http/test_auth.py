import asyncio

import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.testclient import TestClient
from starlette.types import Message

from app.errors import SettingsError, Unauthorized
from app.http.auth import Keys
from app.http.problems import MEDIA_TYPE
from app.http.routes import open_router, router
from app.http.server import create_app
from app.settings import Settings, read_settings

TWO = SecretStr("first-key,second-key")


@pytest.mark.parametrize(
    "sent",
    [
        {"Authorization": "Bearer first-key"},
        {"Authorization": "bearer  second-key"},
        {"X-API-Key": "second-key"},
        {"Authorization": "Bearer wrong", "X-API-Key": "first-key"},
        {"Authorization": "Basic wrong", "X-API-Key": "first-key"},
        {"Authorization": "Bearer first-key", "X-API-Key": "wrong"},
    ],
)
def test_each_key_is_let_in_by_either_header(sent: dict[str, str]) -> None:
    Keys(TWO).check(Headers(sent))
    with pytest.raises(Unauthorized):
        Keys(SecretStr("another")).check(Headers(sent))


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer first-key,second-key"},
        {"Authorization": "Basic first-key"},
        {"X-API-Key": "FIRST-KEY"},
        {"X-API-Key": "first-ke"},
        {"X-API-Key": ""},
        {"Authorization": "Bearer wrong", "X-API-Key": "wrong"},
        {"X-API-Key": "clé"},
    ],
)
def test_nothing_else_is_let_in(sent: dict[str, str]) -> None:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.items()]
    with pytest.raises(Unauthorized):
        Keys(TWO).check(Headers(raw=raw))


def test_without_keys_everyone_is_let_in() -> None:
    keys = Keys(SecretStr(""))
    keys.check(Headers({}))
    assert len(keys) == 0


@pytest.mark.parametrize("value", [",", "a,,b", "a,", " ", "a b", "a, b", "clé", "a\nb"])
def test_keys_that_cannot_be_sent_or_are_none_stop_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match="PASTICHE_API_KEYS") as caught:
        read_settings(api_keys=value)
    assert "clé" not in str(caught.value)


def test_a_key_is_in_no_representation_of_the_settings() -> None:
    settings = read_settings(api_keys="open-sesame")
    assert "sesame" not in f"{settings!r} {settings} {settings.model_dump()}"


OPEN = {"/healthz", "/readyz", "/metrics", "/", "/docs"}


def test_only_health_metrics_and_pages_are_open(settings: Settings, jpeg: bytes) -> None:
    app = create_app(settings.model_copy(update={"api_keys": TWO}))
    assert {route.path for route in open_router.routes} == OPEN  # type: ignore[attr-defined]
    with TestClient(app, raise_server_exceptions=False) as client:
        for path in OPEN:
            assert client.get(path).status_code in (200, 503)
        for route in router.routes:
            (method,) = route.methods  # type: ignore[attr-defined]
            path = route.path.replace("{style_id}", "warm")  # type: ignore[attr-defined]
            answer = client.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), path
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.headers["Content-Type"] == MEDIA_TYPE
            known = client.request(method, path, headers={"X-API-Key": "first-key"})
            assert known.status_code != 401


@pytest.mark.parametrize("sent", [[], [(b"x-api-key", b"wrong")]])
def test_without_a_valid_key_no_byte_of_the_body_is_read(
    settings: Settings, sent: list[tuple[bytes, bytes]]
) -> None:
    app = create_app(settings.model_copy(update={"api_keys": TWO}))
    answers: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body is read")

    async def send(message: Message) -> None:
        answers.append(message)

    async def ask() -> None:
        headers = [(b"content-type", b"image/jpeg"), (b"content-length", b"9"), *sent]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/stylize",
            "query_string": b"style=warm",
            "headers": headers,
        }
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)

    asyncio.run(ask())
    assert answers[0]["status"] == 401


def test_the_openapi_document_names_both_ways_to_send_a_key(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"].values()
    assert {(s["type"], s.get("scheme", s.get("name"))) for s in schemes} == {
        ("http", "bearer"),
        ("apiKey", "X-API-Key"),
    }
    assert document["paths"]["/stylize"]["post"]["security"]
    assert "security" not in document["paths"]["/readyz"]["get"]
