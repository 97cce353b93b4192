"""The Markdown pages of the repository and what they document."""

import re
from collections.abc import Iterator
from pathlib import Path

from app.errors import PasticheError

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def _errors(base: type[PasticheError] = PasticheError) -> Iterator[type[PasticheError]]:
    yield base
    for derived in base.__subclasses__():
        yield from _errors(derived)


def error_codes() -> dict[str, int]:
    """The HTTP status of each error code."""
    return {error.code: error.status for error in _errors()}
