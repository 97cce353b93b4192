"""POST /generate and what the other routes say about textures, in a running application."""

import asyncio
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr
from starlette.testclient import TestClient
from starlette.types import Message

from app import Pastiche
from app.errors import InferenceFailed, OutOfMemory
from app.http.body import URL_ENCODED
from app.http.server import create_app
from app.options import GenerateOptions
from app.pixels.images import MEDIA_TYPES
from app.settings import Settings, read_settings
from tests.conftest import wait_until_ready
from tests.tools.sessions import Sessions


@pytest.fixture(scope="module")
def texture_settings(texture_models: Path) -> Settings:
    return read_settings(models=texture_models, device="cpu", threads=1, max_pixels=40_000)


@pytest.fixture(scope="module")
def generating(texture_settings: Settings) -> Iterator[TestClient]:
    """A client of a running application whose models can generate."""
    with TestClient(create_app(texture_settings), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client


def generate(client: TestClient, **options: object) -> bytes:
    query = {"style": "warm", "width": 48, "height": 40, **options}
    response = client.post("/generate", params=query)  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    return response.content


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


def test_the_response_is_the_texture_with_its_seed_style_device_and_timing(
    generating: TestClient,
) -> None:
    query = "style=warm:3,sand:1&width=70&height=50&seed=12"
    response = generating.post(f"/generate?{query}")
    headers = response.headers
    assert response.status_code == 200
    assert headers["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(response.content)).size == (70, 50)
    assert headers["X-Seed"] == "12"
    assert headers["X-Style"] == "warm:0.75,sand:0.25"
    assert headers["X-Device"] == "cpu;provider=CPUExecutionProvider;precision=float32"
    stages = re.findall(r"(\w+);dur=\d+\.\d", headers["Server-Timing"])
    assert stages == ["queue", "inference", "encode"]
    assert headers["ETag"] == f'"{hashlib.sha256(response.content).hexdigest()[:32]}"'
    assert headers["Cache-Control"] == "no-store"


def test_the_library_makes_the_same_texture(generating: TestClient, texture_models: Path) -> None:
    served = generate(generating, seed=3, variation=1.5, tileable="true")
    pastiche = Pastiche(texture_models, "cpu", threads=1)
    image = pastiche.generate("warm", 48, 40, seed=3, variation=1.5, tileable=True)
    assert np.array_equal(pixels(served), np.asarray(image))


def test_without_a_seed_the_server_draws_one_that_gives_the_same_texture_again(
    generating: TestClient,
) -> None:
    first = generating.post("/generate?style=warm&width=48&height=40")
    second = generating.post("/generate?style=warm&width=48&height=40")
    assert first.headers["X-Seed"] != second.headers["X-Seed"]
    assert first.content != second.content
    assert generate(generating, seed=first.headers["X-Seed"]) == first.content


def test_every_option_reaches_the_texture(generating: TestClient) -> None:
    textures = [
        generate(generating, **{"seed": 1, name: value})
        for name, value in (
            ("seed", 1),
            ("seed", 2),
            ("style", "sand"),
            ("variation", 7),
            ("tileable", "true"),
        )
    ]
    assert len(set(textures)) == len(textures)
    small, large = (generate(generating, format="jpeg", seed=1, quality=q) for q in (5, 95))
    assert len(small) < len(large)
    assert Image.open(io.BytesIO(large)).format == "JPEG"


@pytest.mark.parametrize(
    ("accept", "format"), [("", "PNG"), ("image/webp,*/*;q=0.8", "WEBP"), ("image/jpeg", "JPEG")]
)
def test_the_accept_header_chooses_the_format(
    generating: TestClient, accept: str, format: str
) -> None:
    response = generating.post("/generate?style=warm&width=16", headers={"Accept": accept})
    assert Image.open(io.BytesIO(response.content)).format == format


def test_options_may_come_as_a_form_of_either_kind(generating: TestClient) -> None:
    options = {"style": "warm", "width": "48", "height": "40", "seed": "9", "variation": ""}
    urlencoded = generating.post("/generate", data=options)
    parts = {name: (None, value) for name, value in options.items()}
    multipart = generating.post("/generate?format=", files=parts)
    mixed = generating.post("/generate?style=warm&seed=9", data={"width": "48", "height": "40"})
    assert urlencoded.status_code == multipart.status_code == mixed.status_code == 200
    assert urlencoded.content == multipart.content == mixed.content == generate(generating, seed=9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", r"^style: Field required$"),
        ("style=warm&width=0", r"^width: .* greater than or equal to 16$"),
        ("style=warm&height=-4", r"^height: .* greater than or equal to 16$"),
        ("style=warm&width=16385&height=16", r"^width: .* less than or equal to 16384$"),
        ("style=warm&width=201&height=200", r"201x200 are 40,200 pixels; at most 40,000"),
        ("style=warm&seed=1.5", r"^seed: .* valid integer"),
        ("style=warm&seed=x", r"^seed: .* valid integer"),
        ("style=warm&seed=-1", r"^seed: .* greater than or equal to 0$"),
        ("style=warm&seed=4294967296", r"^seed: .* less than or equal to 4294967295$"),
        ("style=warm&variation=101", r"^variation: .* less than or equal to 100$"),
        ("style=warm&variation=inf", r"^variation: "),
        ("style=warm&tileable=maybe", r"^tileable: .* valid boolean"),
        ("style=warm&tileable=1&width=100", r"width: .* multiple of 8; .* 96 and 104; height: "),
        (
            "style=warm&format=tiff",
            r"^format: Input should be 'jpeg', .* or 'gif'$",
        ),
        ("style=warm&format=webp&width=16384&height=16", r"^width and height: "),
        ("style=warm&strength=1", r"strength: no such option; the options are style, width, "),
        ("style=warm&seed=1&seed=2", r"^seed: given more than once$"),
        ("style=warm:x", r"^style: 'x' is not a weight"),
    ],
)
def test_a_bad_option_is_a_422_that_says_what_is_allowed(
    generating: TestClient, options: str, message: str
) -> None:
    if "tileable" in options:
        options += "&height=101"
    response = generating.post(f"/generate?{options}")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "bad_option")
    assert re.search(message, problem["detail"])


@pytest.mark.parametrize(
    ("style", "code", "message"),
    [
        ("cold", "no_generator", "the style 'cold' cannot generate; those that can are sand, warm"),
        ("warm,cold", "no_generator", "'cold' cannot generate"),
        ("nope", "unknown_style", "there is no style 'nope'; those that can generate are sand, "),
    ],
)
def test_a_style_that_cannot_generate_is_a_404_that_names_those_that_can(
    generating: TestClient, style: str, code: str, message: str
) -> None:
    response = generating.post("/generate", params={"style": style})
    assert (response.status_code, response.json()["code"]) == (404, code)
    assert message in response.json()["detail"]


def test_without_any_generator_every_style_is_a_404(client: TestClient) -> None:
    response = client.post("/generate?style=warm")
    assert (response.status_code, response.json()["code"]) == (404, "no_generator")
    assert "no generator is loaded" in response.json()["detail"]
    assert all(
        item["capabilities"] == ["stylize"] for item in client.get("/styles").json()["styles"]
    )


def test_the_styles_say_what_they_can_do(generating: TestClient) -> None:
    styles = {item["id"]: item for item in generating.get("/styles").json()["styles"]}
    able = {style_id: item["capabilities"] for style_id, item in styles.items()}
    assert able == {
        "cold": ["stylize"],
        "plain": ["stylize"],
        "warm": ["stylize", "generate"],
        "sand": ["generate"],
    }
    sand = generating.get("/styles/sand").json()
    assert sand == styles["sand"]
    assert (sand["title"], sand["network"]) == ("Sand", "tiny")
    assert "preview" not in sand
    assert generating.get("/styles/sand/preview").json()["code"] == "not_found"


def test_a_style_that_can_only_generate_cannot_stylize(generating: TestClient, jpeg: bytes) -> None:
    response = generating.post("/stylize?style=sand", files={"image": jpeg})
    assert (response.status_code, response.json()["code"]) == (404, "unknown_style")
    assert "the style 'sand' can only generate" in response.json()["detail"]


def test_textures_are_counted_by_route_operation_and_style(texture_settings: Settings) -> None:
    with TestClient(create_app(texture_settings)) as client:
        wait_until_ready(client)
        generate(client, style="sand")
        generate(client, style="sand,warm")
        assert client.post("/generate?style=x1").status_code == 404
        text = client.get("/metrics").text
    for sample in (
        'pastiche_requests_total{route="/generate",status="200",style="sand"}',
        'pastiche_requests_total{route="/generate",status="200",style="_blend"}',
        'pastiche_requests_total{route="/generate",status="404",style="_other"}',
        'pastiche_styles_total{operation="generate",style="sand"}',
        'pastiche_styles_total{operation="generate",style="_blend"}',
    ):
        assert f"{sample} 1.0" in text
    assert 'pastiche_inference_seconds_count{operation="generate"} 2.0' in text
    assert "pastiche_decode_seconds_count 0.0" in text
    assert "pastiche_encode_seconds_count 2.0" in text


def test_a_full_queue_responds_503_with_retry_after(texture_settings: Settings) -> None:
    # A texture counts with its whole cells: 17 x 17 pixels take 24 x 24.
    app = create_app(texture_settings.model_copy(update={"queue_pixels": 1000}))
    with TestClient(app) as client:
        wait_until_ready(client)
        with app.state.service.scheduler.admit(425):
            response = client.post("/generate?style=warm&width=17&height=17")
        assert (response.status_code, response.json()["code"]) == (503, "overloaded")
        assert response.headers["Retry-After"].isdecimal()
        with app.state.service.scheduler.admit(424):
            response = client.post("/generate?style=warm&width=17&height=17")
        assert response.status_code == 200


def test_a_key_is_required_where_the_server_has_keys(texture_settings: Settings) -> None:
    keyed = texture_settings.model_copy(update={"api_keys": SecretStr("secret")})
    with TestClient(create_app(keyed)) as client:
        wait_until_ready(client)
        assert client.post("/generate?style=warm").json()["code"] == "unauthorized"
        key = {"X-API-Key": "secret"}
        assert client.post("/generate?style=warm&width=16", headers=key).status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InferenceFailed("broken"), 500, "inference_failed"),
        (OutOfMemory("full"), 503, "out_of_memory"),
    ],
)
def test_a_device_that_fails_is_a_problem_and_unready(
    texture_settings: Settings, error: Exception, status: int, code: str
) -> None:
    sessions = Sessions()
    with TestClient(create_app(texture_settings, sessions.open)) as client:
        wait_until_ready(client)
        sessions.run_error = error
        response = client.post("/generate?style=warm&width=16")
        assert (response.status_code, response.json()["code"]) == (status, code)
        sessions.run_error = None
        assert client.post("/generate?style=warm&width=16").status_code == 200


def test_the_openapi_document_describes_options_examples_headers_and_problems(
    generating: TestClient,
) -> None:
    operation = generating.get("/openapi.json").json()["paths"]["/generate"]["post"]
    form = operation["requestBody"]["content"][URL_ENCODED]["schema"]
    assert set(form["properties"]) == set(GenerateOptions.model_fields)
    assert form["required"] == ["style"]
    found = operation["responses"]
    assert {"X-Seed", "X-Style", "X-Device", "Server-Timing", "ETag"} == set(
        found["200"]["headers"]
    )
    assert set(found["200"]["content"]) == set(MEDIA_TYPES.values())
    problem = "application/problem+json"
    for status in ("400", "401", "404", "408", "413", "415", "422", "431", "500", "503"):
        assert found[status]["content"][problem]["examples"]
    assert "no_generator" in found["404"]["content"][problem]["examples"]
    assert "unsupported_media_type" in found["415"]["content"][problem]["examples"]
    # The examples are a valid request.
    examples = {n: s["examples"][0] for n, s in form["properties"].items() if "examples" in s}
    assert {"style", "width", "height", "seed", "variation", "quality"} == set(examples)
    smaller = {**examples, "style": "warm", "width": 32, "height": 32}
    data = {name: str(value) for name, value in smaller.items()}
    assert generating.post("/generate", data=data).status_code == 200


def test_a_texture_whose_client_disconnects_leaves_the_queue(texture_settings: Settings) -> None:
    sessions = Sessions()
    app = create_app(texture_settings, sessions.open)

    async def call(disconnect: asyncio.Event, received: list[Message]) -> None:
        scope = {
            "type": "http", "method": "POST", "path": "/generate", "headers": [],
            "query_string": b"style=warm&width=16&height=16",
        }  # fmt: skip
        body = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Message:
            if message := next(body, None):
                return message
            await disconnect.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            received.append(message)

        await app(scope, receive, send)

    async def test() -> None:
        scheduler = app.state.service.scheduler
        sessions.gate.clear()
        sessions.started.clear()
        stays, leaves = asyncio.Event(), asyncio.Event()
        received: list[Any] = []
        nothing: list[Any] = []
        first = asyncio.create_task(call(stays, received))
        while not sessions.started.is_set():
            await asyncio.sleep(0.01)
        second = asyncio.create_task(call(leaves, nothing))
        while not scheduler._waiting:
            await asyncio.sleep(0.01)
        assert scheduler._admitted == 2 * 16 * 16
        leaves.set()
        await second
        assert not scheduler._waiting
        assert scheduler._admitted == 16 * 16
        assert not nothing
        sessions.gate.set()
        await first
        assert received[0]["status"] == 200

    with TestClient(app) as client:
        wait_until_ready(client)
        assert client.portal is not None
        client.portal.call(test)
        assert 'route="/generate",status="499"' in client.get("/metrics").text
