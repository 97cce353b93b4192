import base64
import hashlib

import pytest
from starlette.testclient import TestClient

from app.http.headers import SECURITY, page_policy


@pytest.mark.parametrize("path", ["/healthz", "/styles", "/styles/warm/preview", "/nothing"])
def test_every_answer_may_load_nothing_and_stand_in_no_frame(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert {name: headers[name] for name in SECURITY} == SECURITY
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_so_does_one_that_nobody_foresaw(
    client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("app.engine.pipeline.read_header", fail)
    answer = client.post("/stylize?style=warm", files={"image": jpeg})
    assert answer.status_code == 500
    assert {name: answer.headers[name] for name in SECURITY} == SECURITY


def test_the_api_page_may_load_from_its_host_and_run_its_own_script_only(
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


def test_a_page_without_scripts_of_others_names_no_host() -> None:
    policy = page_policy("<p>paint</p>")
    assert "script-src 'self';" in policy
    assert "http" not in policy
