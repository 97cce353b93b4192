import pytest
from starlette.testclient import TestClient

from app.errors import SettingsError
from app.http.cors import RESPONSE_HEADERS
from app.http.server import create_app
from app.settings import Settings, read_settings
from tests.conftest import wait_until_ready

ORIGIN = "https://photos.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-api-key",
}


def test_without_the_setting_no_other_origin_is_allowed(client: TestClient) -> None:
    response = client.get("/styles", headers={"Origin": ORIGIN})
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert client.options("/stylize", headers=PREFLIGHT).status_code == 405


@pytest.mark.parametrize("origins", [ORIGIN, f"http://localhost:3000,{ORIGIN}", "*"])
def test_a_page_of_an_allowed_origin_can_paint_and_read_the_headers(
    settings: Settings, jpeg: bytes, origins: str
) -> None:
    keys = read_settings(api_keys="key").api_keys
    app = create_app(settings.model_copy(update={"cors_origins": origins, "api_keys": keys}))
    with TestClient(app) as client:
        wait_until_ready(client)
        preflight = client.options("/stylize", headers=PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] in (ORIGIN, "*")
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        assert "X-Request-ID" in preflight.headers
        response = client.post(
            "/stylize",
            files={"image": jpeg},
            data={"style": "warm"},
            headers={"Origin": ORIGIN, "X-API-Key": "key"},
        )
        assert response.status_code == 200
        assert response.headers["Access-Control-Allow-Origin"] in (ORIGIN, "*")
        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
        assert set(exposed) == set(RESPONSE_HEADERS)
        refused = client.post("/stylize", headers={"Origin": ORIGIN})
        assert refused.status_code == 401  # a script can read the problem document
        assert refused.headers["Access-Control-Allow-Origin"] in (ORIGIN, "*")


def test_another_origin_is_not_allowed(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"cors_origins": "https://other.example"}))
    with TestClient(app) as client:
        assert client.options("/stylize", headers=PREFLIGHT).status_code == 400
        response = client.get("/healthz", headers={"Origin": ORIGIN})
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("value", ["photos.example", "https://a.example/", "https://a.example, *"])
def test_a_value_that_is_no_origin_is_rejected(value: str) -> None:
    with pytest.raises(SettingsError, match="PASTICHE_CORS_ORIGINS"):
        read_settings(cors_origins=value)
