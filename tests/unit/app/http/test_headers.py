import base64
import hashlib

import pytest
from starlette.testclient import TestClient

from app.http.headers import SECURITY, page_policy


@pytest.mark.parametrize("path", ["/healthz", "/styles", "/styles/warm/preview", "/nothing"])
def test_every_response_has_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert {name: headers[name] for name in SECURITY} == SECURITY
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_an_unexpected_error_has_the_security_headers(
    client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("app.engine.pipeline.read_header", fail)
    response = client.post("/stylize?style=warm", files={"image": jpeg})
    assert response.status_code == 500
    assert {name: response.headers[name] for name in SECURITY} == SECURITY


def test_the_api_page_may_load_only_from_its_host_and_run_only_its_script(
    client: TestClient,
) -> None:
    page = client.get("/docs")
    policy = dict(
        part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; ")
    )
    script = page.text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' https://cdn.jsdelivr.net 'sha256-{digest}'"
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    hosts = {part.split("/")[2] for part in page.text.split('"') if part.startswith("https:")}
    assert hosts == {"cdn.jsdelivr.net"}


def test_a_page_without_other_origins_allows_no_host() -> None:
    policy = page_policy("<p>paint</p>")
    assert "script-src 'self';" in policy
    assert "http" not in policy
