"""The fenced code blocks of all pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PLACES = ("*.md", "docs/**/*.md", "examples/**/*.md", "js/*.md", "clients/js/*.md")
_FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One block, and where it stands."""

    page: Path
    line: int
    code: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str) -> list[Block]:
    """All blocks of a language, in order."""
    return list(_blocks(language))


def _blocks(language: str) -> Iterator[Block]:
    for page in sorted({page for place in _PLACES for page in ROOT.glob(place)}):
        text = page.read_text(encoding="utf-8")
        for found in _FENCE.finditer(text):
            if found["language"] == language:
                yield Block(page, text.count("\n", 0, found.start("code")) + 1, found["code"])


def commands(block: Block) -> list[str]:
    """The lines of a shell block that are run, each continued one as one."""
    joined = block.code.replace("\\\n", " ")
    return [line for line in map(str.strip, joined.splitlines()) if line and line[0] != "#"]
