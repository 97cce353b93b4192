import hashlib
import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app import __version__
from app.engine.steady import SteadyNetwork
from app.http.server import create_app
from app.model_folder import Vector
from app.pixels.animation import read_animation
from app.pixels.images import Pixels, decode, encode, from_pillow, read_header
from app.settings import Settings, read_settings
from tests.conftest import STYLES, make_folder, wait_until_ready
from tests.tools.image_files import SHADES, saved

Headers = dict[str, str]


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(opened(content)).astype(int)


def decoded(content: bytes) -> np.ndarray:
    return decode(content, 10_000).rgb.astype(int)


def post(client: TestClient, jpeg: bytes, **options: str) -> bytes:
    response = client.post("/stylize", files={"image": jpeg}, data={"style": "warm", **options})
    assert response.status_code == 200, response.text
    return response.content


def test_a_form_and_a_raw_body_return_the_same_picture(client: TestClient, jpeg: bytes) -> None:
    form = client.post("/stylize", files={"image": jpeg}, data={"style": "warm"})
    raw = client.post("/stylize?style=warm", content=jpeg, headers={"Content-Type": "image/jpeg"})
    assert form.status_code == raw.status_code == 200
    assert form.content == raw.content
    assert opened(form.content).size == opened(jpeg).size


def test_the_response_has_headers_for_style_device_timing_and_etag(
    client: TestClient, jpeg: bytes
) -> None:
    response = client.post("/stylize?style=warm:1,cold:1", files={"image": jpeg})
    headers = response.headers
    assert headers["X-Style"] == "warm:0.5,cold:0.5"
    assert headers["X-Device"] == "cpu;provider=CPUExecutionProvider;precision=float32"
    assert re.fullmatch(r"[0-9a-f]{32}", headers["X-Request-ID"])
    stages = re.findall(r"(\w+);dur=\d+\.\d", headers["Server-Timing"])
    assert stages == ["decode", "queue", "inference", "encode"]
    assert headers["ETag"] == f'"{hashlib.sha256(response.content).hexdigest()[:32]}"'


def test_styles_paint_differently_and_a_blend_lies_between(client: TestClient, jpeg: bytes) -> None:
    painted = {s: pixels(post(client, jpeg, style=s, format="png")) for s in STYLES}
    blend = pixels(post(client, jpeg, style="warm:0.5,cold:0.5", format="png"))
    apart = np.abs(painted["warm"] - painted["cold"]).mean()
    assert apart > 2
    assert np.abs(blend - painted["warm"]).mean() > 0.5
    assert np.abs(blend - painted["cold"]).mean() > 0.5


def test_strength_zero_is_the_photograph(client: TestClient, jpeg: bytes) -> None:
    assert np.array_equal(pixels(post(client, jpeg, strength="0", format="png")), pixels(jpeg))


def test_size_changes_the_strokes_not_the_size_of_the_response(
    client: TestClient, jpeg: bytes
) -> None:
    small = opened(post(client, jpeg, size="40", format="png"))
    assert small.size == opened(jpeg).size
    assert (
        np.abs(np.asarray(small).astype(int) - pixels(post(client, jpeg, format="png"))).mean() > 1
    )


def test_preserve_colors_keeps_the_photographs_colours(client: TestClient, jpeg: bytes) -> None:
    kept = opened(post(client, jpeg, preserve_colors="true", format="png")).convert("YCbCr")
    photo = opened(jpeg).convert("YCbCr")
    difference = np.abs(np.asarray(kept).astype(int) - np.asarray(photo).astype(int))
    assert np.median(difference[..., 1:]) <= 2 < np.median(difference[..., 0])


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        ("", "*/*", "image/jpeg"),
        ("", "image/webp,image/png;q=0.5", "image/webp"),
        ("&format=png", "image/webp", "image/png"),
    ],
)
def test_the_format_follows_the_option_then_accept_then_the_input(
    client: TestClient, jpeg: bytes, query: str, accept: str, expected: str
) -> None:
    response = client.post(
        f"/stylize?style=warm{query}", files={"image": jpeg}, headers={"Accept": accept}
    )
    assert response.headers["Content-Type"] == expected
    assert (opened(response.content).format or "").lower() == expected.removeprefix("image/")


def test_repeated_header_lines_form_one_list(client: TestClient, jpeg: bytes) -> None:
    accept = [("Accept", "image/png;q=0.5"), ("Accept", "image/webp")]
    response = client.post("/stylize?style=warm", files={"image": jpeg}, headers=accept)
    assert response.headers["Content-Type"] == "image/webp"
    tags = [("If-None-Match", '"x"'), ("If-None-Match", client.get("/styles").headers["ETag"])]
    assert client.get("/styles", headers=tags).status_code == 304


def test_blank_form_fields_use_the_defaults(client: TestClient, jpeg: bytes) -> None:
    blank = {"strength": "", "size": "", "format": "", "quality": "", "preserve_colors": ""}
    assert post(client, jpeg, **blank) == post(client, jpeg)


def test_alpha_is_kept_and_hidden_colours_stay_hidden(client: TestClient) -> None:
    rgba = np.full((32, 40, 4), 200, np.uint8)
    rgba[:, :20] = (255, 0, 0, 0)  # hidden red
    content = encode(from_pillow(Image.fromarray(rgba)), "png")
    response = client.post("/stylize?style=warm", files={"image": content})
    out = np.asarray(opened(response.content))
    assert np.array_equal(out[..., 3], rgba[..., 3])
    assert not out[:, :20, :3].any()


@pytest.mark.parametrize(
    ("options", "status", "code", "message"),
    [
        ({"style": "nope"}, 404, "unknown_style", "warm"),
        ({}, 422, "bad_option", "style"),
        ({"style": "warm", "strength": "3"}, 422, "bad_option", "less than or equal to 2"),
        ({"style": "warm", "strength": "2"}, 422, "bad_option", "which has no bold vector"),
        ({"style": "warm", "size": "3"}, 422, "bad_option", "greater than or equal to 16"),
        ({"style": "warm", "size": "16384"}, 422, "bad_option", "pixels are allowed"),
        ({"style": "warm", "format": "tiff"}, 422, "bad_option", "jpeg"),
        ({"style": "warm", "colour": "red"}, 422, "bad_option", "preserve_colors"),
        ({"style": "warm:-3"}, 422, "bad_option", "weights are numbers from 0"),
    ],
)
def test_the_error_for_a_bad_option_says_what_is_allowed(
    client: TestClient, jpeg: bytes, options: Headers, status: int, code: str, message: str
) -> None:
    response = client.post("/stylize", files={"image": jpeg}, data=options)
    problem = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert message in problem["detail"]
    assert problem["type"] == f"urn:pastiche:{code}"
    assert problem["request_id"] == response.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"no image at all", 415, "unsupported_image"),
        (b"GIF89a" + bytes(100), 422, "broken_image"),
        (b"", 422, "missing_image"),
    ],
)
def test_content_that_is_not_an_image_is_rejected(
    client: TestClient, content: bytes, status: int, code: str
) -> None:
    response = client.post("/stylize?style=warm", files={"image": ("a.jpg", content, "image/jpeg")})
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_truncated_image_is_broken_and_nothing_internal_leaks(
    client: TestClient, jpeg: bytes
) -> None:
    response = client.post("/stylize?style=warm", files={"image": jpeg[: len(jpeg) // 2]})
    assert (response.status_code, response.json()["code"]) == (422, "broken_image")
    assert not re.search(r"Traceback|/app/|site-packages|0x", response.text)


def test_an_image_with_too_many_pixels_is_rejected(models: Path, jpeg: bytes) -> None:
    settings = read_settings(models=models, device="cpu", max_pixels=5000)
    with TestClient(create_app(settings)) as client:
        wait_until_ready(client)
        response = client.post("/stylize?style=warm", files={"image": jpeg})
        assert (response.status_code, response.json()["code"]) == (413, "image_too_large")
        assert "at most 5,000 are allowed (PASTICHE_MAX_PIXELS)" in response.json()["detail"]


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("AVIF", "image/avif"),
        ("HEIF", "image/jpeg"),
        ("TIFF", "image/png"),
        ("GIF", "image/gif"),
        ("BMP", "image/png"),
    ],
)
def test_images_of_other_formats_are_painted(
    client: TestClient, format: str, expected: str
) -> None:
    content = saved(Image.fromarray(SHADES), format)
    response = client.post(
        "/stylize?style=warm&strength=0",
        content=content,
        headers={"Content-Type": f"image/{format.lower()}", "Accept": "*/*"},
    )
    assert (response.status_code, response.headers["Content-Type"]) == (200, expected)
    assert np.abs(decoded(response.content) - decoded(content)).mean() < 6


def test_a_format_that_the_operator_does_not_allow_is_rejected(models: Path, jpeg: bytes) -> None:
    settings = read_settings(models=models, device="cpu", input_formats="webp,jpeg")
    with TestClient(create_app(settings)) as client:
        wait_until_ready(client)
        assert client.post("/stylize?style=warm", files={"image": jpeg}).status_code == 200
        bmp = saved(Image.fromarray(SHADES), "BMP")
        response = client.post("/stylize?style=warm", files={"image": bmp})
        assert (response.status_code, response.json()["code"]) == (415, "unsupported_image")
        detail = "the image is a bmp; the allowed formats are jpeg, webp"
        assert response.json()["detail"] == detail


@pytest.fixture(scope="module")
def animation() -> bytes:
    frames = [Image.fromarray(np.roll(SHADES, 5 * n, 1)) for n in range(4)]
    durations = [40, 80, 120, 200]
    return saved(
        frames[0], "PNG", save_all=True, append_images=frames[1:], duration=durations, loop=3
    )


def test_an_animation_is_painted_only_if_the_client_asks_for_it(
    client: TestClient, animation: bytes
) -> None:
    first = opened(post(client, animation))
    assert getattr(first, "n_frames", 1) == 1
    for accept, expected in (("", "png"), ("image/webp,image/avif", "webp"), ("image/gif", "gif")):
        response = client.post(
            "/stylize?style=warm&animation=true",
            files={"image": animation},
            headers={"Accept": accept},
        )
        assert response.headers["Content-Type"] == f"image/{expected}"
        painted = read_animation(read_header(response.content, 10_000))
        assert list(painted.milliseconds) == [40, 80, 120, 200]
        assert painted.plays == 3
        assert {frame.size for frame in painted.frames} == {(48, 32)}


def test_a_still_picture_is_painted_when_an_animation_is_asked_for(
    client: TestClient, jpeg: bytes
) -> None:
    assert post(client, jpeg, animation="true") == post(client, jpeg)


@pytest.mark.parametrize(
    ("query", "status", "code", "says"),
    [
        (
            "&format=jpeg",
            422,
            "bad_option",
            "format: jpeg cannot hold an animation",
        ),
        ("&size=8000", 422, "bad_option", "size: each of 4 frames would be painted at 8000x5333"),
    ],
)
def test_an_animation_that_cannot_be_painted_is_rejected(
    client: TestClient, animation: bytes, query: str, status: int, code: str, says: str
) -> None:
    response = client.post(f"/stylize?style=warm&animation=true{query}", files={"image": animation})
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert says in response.json()["detail"]


def test_the_deadline_is_for_the_first_frame(
    models: Path, animation: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint = SteadyNetwork.paint

    def slowly(self: SteadyNetwork, images: Pixels, styles: Vector) -> Pixels:
        time.sleep(0.4)
        return paint(self, images, styles)

    monkeypatch.setattr(SteadyNetwork, "paint", slowly)
    settings = read_settings(models=models, device="cpu", deadline_seconds=1)
    with TestClient(create_app(settings)) as client:
        wait_until_ready(client)
        response = client.post("/stylize?style=warm&animation=1", files={"image": animation})
        assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ({"max_frames": 3}, "4 frames; at most 3 are allowed (PASTICHE_MAX_FRAMES)"),
        ({"max_pixels": 6000}, "6,144 in all; at most 6,000 are allowed (PASTICHE_MAX_PIXELS)"),
    ],
)
def test_an_animation_over_the_limits_is_rejected_but_its_first_frame_is_not(
    models: Path, animation: bytes, limit: dict[str, int], says: str
) -> None:
    settings = read_settings(models=models, device="cpu", **limit)
    with TestClient(create_app(settings)) as client:
        wait_until_ready(client)
        url = "/stylize?style=warm"
        response = client.post(f"{url}&animation=true", files={"image": animation})
        assert (response.status_code, response.json()["code"]) == (413, "image_too_large")
        assert says in response.json()["detail"]
        assert client.post(url, files={"image": animation}).status_code == 200


def test_an_image_of_one_pixel_is_painted(client: TestClient) -> None:
    dot = encode(from_pillow(Image.new("RGB", (1, 1), "teal")), "png")
    response = client.post("/stylize?style=warm", files={"image": dot})
    assert (response.status_code, decode(response.content, 1).size) == (200, (1, 1))


def test_a_body_that_is_too_large_is_rejected(models: Path) -> None:
    settings = read_settings(models=models, device="cpu", max_body_bytes=2000)
    with TestClient(create_app(settings)) as client:
        wait_until_ready(client)
        response = client.post("/stylize?style=warm", files={"image": bytes(3000)})
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_the_style_list_is_complete_and_cacheable(client: TestClient) -> None:
    response = client.get("/styles")
    assert [item["id"] for item in response.json()["styles"]] == sorted(STYLES)
    assert set(response.json()["styles"][0]) == {
        "id", "title", "artist", "license", "network", "max_strength", "preview",
        "capabilities",
    }  # fmt: skip
    again = client.get("/styles", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_one_style_and_its_preview_can_be_fetched(client: TestClient) -> None:
    item = client.get("/styles/warm").json()
    assert (item["title"], item["network"]) == ("Warm", "tiny")
    preview = client.get(item["preview"])
    assert preview.headers["Content-Type"] == "image/jpeg"
    assert opened(preview.content).size == (60, 40)
    assert client.get("/styles/nope").status_code == 404
    assert client.get("/styles/nope/preview").json()["code"] == "unknown_style"


def test_a_preview_is_not_found_after_the_models_folder_was_replaced_by_a_file(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    make_folder(models / "tiny")
    settings = read_settings(models=models, device="cpu", reload_seconds=0)
    with TestClient(create_app(settings)) as client:
        wait_until_ready(client)
        models.rename(tmp_path / "gone")
        models.write_text("not a folder")
        response = client.get("/styles/warm/preview")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_path_with_a_trailing_slash_is_not_found(client: TestClient) -> None:
    response = client.get("/styles/", headers={"Host": "evil.example"}, follow_redirects=False)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_health_and_readiness_describe_the_running_server(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {
        "status": "ready",
        "version": __version__,
        "device": "cpu",
        "provider": "CPUExecutionProvider",
        "precision": "float32",
        "networks": ["tiny"],
        "styles": 3,
    }


def test_without_a_network_the_server_is_alive_but_not_ready(tmp_path: Path, jpeg: bytes) -> None:
    with TestClient(create_app(read_settings(models=tmp_path, device="cpu"))) as client:
        wait_until_ready(client)
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert ready.json()["version"] == __version__
        response = client.post("/stylize?style=warm", files={"image": jpeg})
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")
        assert response.headers["Retry-After"].isdecimal()


def test_a_full_queue_responds_503_with_retry_after(settings: Settings, jpeg: bytes) -> None:
    app = create_app(settings.model_copy(update={"queue_pixels": 256}))
    with TestClient(app) as client:
        wait_until_ready(client)
        with app.state.service.scheduler.admit(256):
            response = client.post("/stylize?style=warm", files={"image": jpeg})
        assert (response.status_code, response.json()["code"]) == (503, "overloaded")
        assert response.headers["Retry-After"].isdecimal()
        assert client.post("/stylize?style=warm", files={"image": jpeg}).status_code == 200


def test_metrics_count_known_routes_only(client: TestClient, jpeg: bytes) -> None:
    post(client, jpeg)
    for path in ("/a", "/b", "/styles/x1"):
        client.get(path)
    text = client.get("/metrics").text
    assert 'pastiche_requests_total{route="/stylize",status="200",style="warm"} 1.0' in text
    assert 'pastiche_requests_total{route="_other",status="404",style=""} 2.0' in text
    assert '{route="/styles/{style_id}",status="404",style=""} 1.0' in text
    assert 'pastiche_styles_total{operation="stylize",style="warm"} 1.0' in text
    assert "x1" not in text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nothing", 404, "not_found"), ("PUT", "/styles", 405, "method_not_allowed")],
)
def test_unknown_paths_and_methods_are_problems(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path)
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_valid_request_id_is_kept_and_an_invalid_one_is_replaced(client: TestClient) -> None:
    assert (
        client.get("/healthz", headers={"X-Request-ID": "a-1.B"}).headers["X-Request-ID"] == "a-1.B"
    )
    bad = client.get("/healthz", headers={"X-Request-ID": "a b" * 40}).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", bad)


def test_an_unexpected_error_is_a_problem_without_traceback(
    client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("app.engine.pipeline.read_header", fail)
    response = client.post("/stylize?style=warm", files={"image": jpeg})
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "secret" not in response.text
    assert response.headers["X-Request-ID"] == response.json()["request_id"]


def test_no_route_runs_in_a_thread_of_the_framework(
    client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(work: object, *arguments: object, **more: object) -> None:
        raise AssertionError(f"{work} was sent to a thread")

    monkeypatch.setattr("anyio.to_thread.run_sync", fail)
    assert opened(post(client, jpeg)).size == opened(jpeg).size
    for path in ("styles", "styles/warm", "styles/warm/preview", "healthz", "readyz", "metrics"):
        assert client.get(f"/{path}").status_code == 200
