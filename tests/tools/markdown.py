"""Markdown pages."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.tools.repository import ROOT

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+) -->\n)?```(?P<language>.*)\n(?P<code>(?:.*\n)*?)```$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class CodeBlock:
    """A fenced code block, and the reason why it is not run, if there is one."""

    page: Path
    line: int  # of the fence
    language: str
    code: str
    reason: str | None

    def __str__(self) -> str:
        """Return page, line and language, to name a test with."""
        return f"{self.page.relative_to(ROOT)}:{self.line} {self.language}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of all headings, as a renderer generates them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def code_blocks(page: Path) -> list[CodeBlock]:
    """Return the fenced code blocks of a page.

    The line `<!-- not run: REASON -->` before the fence marks a block that tests do not run.
    """
    text = page.read_text(encoding="utf-8")
    return [
        CodeBlock(
            page,
            text.count("\n", 0, match.start("language")) + 1,
            match["language"],
            match["code"],
            match["reason"],
        )
        for match in _BLOCK.finditer(text)
    ]
