"""The documentation as a site: it builds without warnings and loads nothing from other hosts."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Route

from tests.tools.browsers import chromium
from tests.tools.repository import ROOT

# Attributes whose address a browser loads by itself, by element. `a` is not among them.
LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "srcset"}
NOT_LOADED = {"canonical", "next", "prev"}  # relations of a link element


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Addresses(HTMLParser):
    """The addresses in a page: those that a browser loads, and those that a reader can follow."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attributes if value}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADED and LOADED[tag] in values and values.get("rel") not in NOT_LOADED:
            self.loaded.append(values[LOADED[tag]])


def pages(site: Path) -> Iterator[Path]:
    found = sorted(site.rglob("*.html"))
    assert found
    yield from found


def test_every_page_of_the_documentation_is_in_the_site(site: Path) -> None:
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        path = page.relative_to(docs).with_suffix("")
        target = path / "index.html" if path.name != "index" else Path("index.html")
        assert (site / target).is_file(), page


def test_every_link_within_the_site_leads_to_a_file(site: Path) -> None:
    for page in pages(site):
        if page.name == "404.html":  # its addresses begin at the root of the host
            continue
        addresses = Addresses(page)
        for address in (*addresses.loaded, *addresses.links):
            parts = urlsplit(address)
            if not parts.scheme:
                target = page.parent / unquote(parts.path)
                target = target / "index.html" if target.is_dir() else target
                assert target.is_file(), f"{page.relative_to(site)}: {address}"


def test_files_of_the_repository_that_pages_link_to_are_in_the_site(site: Path) -> None:
    copies = {path.relative_to(site / "files") for path in (site / "files").rglob("*.txt")}
    assert Path("Dockerfile.txt") in copies
    for copy in copies:
        assert (site / "files" / copy).read_bytes() == (ROOT / copy.with_suffix("")).read_bytes()


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    for page in pages(site):
        for address in Addresses(page).loaded:
            assert not urlsplit(address).netloc, f"{page.relative_to(site)}: {address}"
        # Material loads a renderer of diagrams from elsewhere if a page has any.
        assert "mermaid" not in page.read_text(encoding="utf-8")
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        found = re.findall(r"url\(['\"]?(?:https?:)?//|@import", text)
        assert found == [], sheet.relative_to(site)


def test_a_browser_asks_no_other_host(site: Path) -> None:
    with chromium() as browser, browser.new_context() as context:
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        # Chromium does not let pages read further files from disk; a route can.
        context.route("http://site.test/**", lambda route: route.fulfill(path=file_of(site, route)))
        page = context.new_page()
        for path in ("index.html", "api/index.html"):
            page.goto(f"http://site.test/{path}", wait_until="networkidle")
            assert page.locator("h1").is_visible()
        assert len(asked) > 2
        assert {urlsplit(url).netloc for url in asked} == {"site.test"}


def file_of(site: Path, route: Route) -> Path:
    return site / unquote(urlsplit(route.request.url).path).lstrip("/")


def test_broken_links_break_the_build(tmp_path: Path) -> None:
    for name in ("mkdocs.yml", "Dockerfile", "docker-compose.yml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("deploy", "docs", "tests/tools", "training/recipes"):
        shutil.copytree(ROOT / name, tmp_path / name)
    links = ("gone.md", "library.md#gone", "../Gonefile")
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write("".join(f"\n[Gone]({link})\n" for link in links))
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    warnings = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == len(links), done.stderr
    assert all(any(f"'{link}'" in line for line in warnings) for link in links), done.stderr
