import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.errors import NotFound
from app.http.assets import MEDIA_TYPES, PAGE, asset

FILES = sorted(PAGE.iterdir())
TEXTS = [path for path in FILES if path.suffix != ".jpg"]
MAX_BYTES = 100_000  # of the page, without pictures


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_is_served_with_its_type_and_can_be_cached(
    client: TestClient, file: Path
) -> None:
    response = client.get(f"/page/{file.name}")
    assert response.status_code == 200
    assert response.content == file.read_bytes()
    assert response.headers["Content-Type"] == MEDIA_TYPES[file.suffix]
    assert response.headers["Cache-Control"] == "no-cache"
    again = client.get(f"/page/{file.name}", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_that_has_not_changed_is_not_sent_again(client: TestClient, path: str) -> None:
    first = client.get(path)
    assert first.headers["Content-Type"] == "text/html; charset=utf-8"
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Content-Security-Policy"] == first.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2Froutes.py", "%2Fetc%2Fpasswd", "%00", "redoc.standalone.js"]
)
def test_no_other_file_is_served(client: TestClient, name: str) -> None:
    response = client.get(f"/page/{name}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(NotFound):
        asset("../routes.py")


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in TEXTS) <= MAX_BYTES
    assert len(asset("sample.jpg")[0]) <= 200_000


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_no_file_names_another_host(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("page", ["index.html", "docs.html"])
def test_everything_that_a_page_links_to_is_served(client: TestClient, page: str) -> None:
    html = (PAGE / page).read_text(encoding="utf-8")
    links = set(re.findall(r'(?:src|href)="([^"#]+)"', html))
    assert len(links) >= 3
    for link in links:
        assert client.get(link).status_code == 200, link


def test_every_module_that_is_imported_exists() -> None:
    scripts = [path for path in FILES if path.suffix == ".js"]
    for path in scripts:
        for name in re.findall(r' from "\./(.+?)"', path.read_text(encoding="utf-8")):
            assert (PAGE / name) in scripts, f"{path.name} imports {name}"
