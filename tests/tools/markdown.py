"""Markdown pages."""

import re
from pathlib import Path


def anchors(page: Path) -> set[str]:
    """Return the anchors of all headings, as a renderer generates them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
