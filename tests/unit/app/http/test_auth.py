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
from tests.conftest import wait_until_ready

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
def test_each_key_is_accepted_in_either_header(sent: dict[str, str]) -> None:
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
def test_everything_else_is_rejected(sent: dict[str, str]) -> None:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.items()]
    with pytest.raises(Unauthorized):
        Keys(TWO).check(Headers(raw=raw))


def test_without_keys_every_request_is_accepted() -> None:
    keys = Keys(SecretStr(""))
    keys.check(Headers({}))
    assert len(keys) == 0


@pytest.mark.parametrize("value", [",", "a,,b", "a,", " ", "a b", "a, b", "clé", "a\nb"])
def test_empty_keys_and_keys_that_no_header_can_carry_are_rejected(value: str) -> None:
    with pytest.raises(SettingsError, match="PASTICHE_API_KEYS") as caught:
        read_settings(api_keys=value)
    assert "clé" not in str(caught.value)


def test_settings_never_show_a_key() -> None:
    settings = read_settings(api_keys="open-sesame")
    assert "sesame" not in f"{settings!r} {settings} {settings.model_dump()}"


OPEN = {
    "/healthz", "/readyz", "/metrics", "/", "/docs", "/page/{name}",
    "/styles", "/styles/{style_id}", "/styles/{style_id}/preview",
}  # fmt: skip


def test_only_painting_needs_a_key(settings: Settings, jpeg: bytes) -> None:
    app = create_app(settings.model_copy(update={"api_keys": TWO}))
    assert {route.path for route in open_router.routes} == OPEN  # type: ignore[attr-defined]
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until_ready(client)
        for path in OPEN:
            assert client.get(path.format(name="main.js", style_id="warm")).status_code == 200
        for route in router.routes:
            (method,) = route.methods  # type: ignore[attr-defined]
            path = route.path.replace("{style_id}", "warm")  # type: ignore[attr-defined]
            response = client.request(method, path)
            assert (response.status_code, response.json()["code"]) == (401, "unauthorized"), path
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert response.headers["Content-Type"] == MEDIA_TYPE
            known = client.request(method, path, headers={"X-API-Key": "first-key"})
            assert known.status_code != 401


@pytest.mark.parametrize("sent", [[], [(b"x-api-key", b"wrong")]])
def test_without_a_valid_key_the_body_is_not_read(
    settings: Settings, sent: list[tuple[bytes, bytes]]
) -> None:
    app = create_app(settings.model_copy(update={"api_keys": TWO}))
    responses: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body is read")

    async def send(message: Message) -> None:
        responses.append(message)

    async def request() -> None:
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

    asyncio.run(request())
    assert responses[0]["status"] == 401


def test_the_openapi_document_describes_both_ways_to_send_a_key(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"].values()
    assert {(s["type"], s.get("scheme", s.get("name"))) for s in schemes} == {
        ("http", "bearer"),
        ("apiKey", "X-API-Key"),
    }
    assert document["paths"]["/stylize"]["post"]["security"]
    assert "security" not in document["paths"]["/readyz"]["get"]
