"""Small pieces of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column is flush left, the others right."""
    marks = [":---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, marks, *rows))


def template(name: str) -> str:
    """A page's framing text, which ships with the package; numbers go in by `string.Template`."""
    return (files("edgecritic_bench") / "templates" / name).read_text(encoding="utf-8")
