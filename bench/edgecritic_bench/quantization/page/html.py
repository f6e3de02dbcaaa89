"""Pieces of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edgecritic_bench.quantization.page.svg import Figure


def tag(name: str, inner: str, class_: str = "") -> str:
    """An element around HTML."""
    attribute = f' class="{class_}"' if class_ else ""
    return f"<{name}{attribute}>{inner}</{name}>"


def words(text: str, class_: str = "") -> str:
    """A paragraph of plain text."""
    return tag("p", escape(text), class_)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], chosen: Sequence[bool] = ()) -> str:
    """A table.

    Args:
        heads: plain text.
        rows: HTML in cells.
        chosen: rows to stand out.
    """
    marks = [*chosen, *[False] * (len(rows) - len(chosen))]
    head = tag("thead", tag("tr", "".join(tag("th", escape(cell)) for cell in heads)))
    body = "".join(
        tag("tr", "".join(tag("td", cell) for cell in row), "chosen" if mark else "")
        for row, mark in zip(rows, marks, strict=True)
    )
    return tag("div", tag("table", head + tag("tbody", body)), "wide")


def figure(drawing: Figure | Sequence[Figure], caption: str = "") -> str:
    """One drawing or several beside each other, with what they say."""
    inner = str(drawing) if isinstance(drawing, Figure) else _row(drawing)
    told = tag("figcaption", escape(caption)) if caption else ""
    return tag("figure", inner + told)


def _row(drawings: Sequence[Figure]) -> str:
    # Beside each other they keep their own size.
    sized = (
        str(drawing).replace("max-width:", f"width:{drawing.width:g}px;max-width:", 1)
        for drawing in drawings
    )
    return tag("div", "".join(sized), "row")
