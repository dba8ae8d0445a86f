"""The pages for users, and what stands in them: blocks of code, links, headings."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_WHERE = ("*.md", "docs/**/*.md", "benchmarks/**/*.md", "helm/**/*.md")
PAGES = tuple(sorted(page.relative_to(ROOT).as_posix() for where in _WHERE for page in ROOT.glob(where)))
"""By their path from the repository's root."""

_FENCED = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code: where it begins (line 1 is the page's first), in which language, and what it says."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def text_of(page: str) -> str:
    """A page, whole."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[Block]:
    """All of a language, in their order."""
    text = text_of(page)
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in _FENCED.finditer(text)
        if found[1] == language
    ]


@cache
def anchors(page: str) -> frozenset[str]:
    """What a link to this page may name behind `#`: its headings as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", text_of(page)), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
