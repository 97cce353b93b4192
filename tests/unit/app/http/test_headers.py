import re

import pytest
from starlette.testclient import TestClient

from app.http.headers import SECURITY


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


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_may_load_only_from_its_own_server_and_has_no_inline_script(
    client: TestClient, path: str
) -> None:
    page = client.get(path)
    policy = dict(
        part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data: blob:"
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|style=|javascript:", page.text)


def test_only_the_api_page_allows_style_attributes(client: TestClient) -> None:
    policies = [client.get(path).headers["Content-Security-Policy"] for path in ("/", "/docs")]
    assert "unsafe" not in policies[0]
    assert "style-src 'self' 'unsafe-inline'" in policies[1]
