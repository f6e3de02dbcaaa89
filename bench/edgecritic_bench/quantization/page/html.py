"""Pieces of HTML."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from edgecritic_bench.quantization.page.svg import Figure

_MANY_COLUMNS = 9
"""Columns beyond which a table takes small letters."""


def tag(name: str, inner: str, class_: str = "") -> str:
    """An element around HTML."""
    attribute = f' class="{class_}"' if class_ else ""
    return f"<{name}{attribute}>{inner}</{name}>"


def words(text: str, class_: str = "") -> str:
    """A paragraph of plain text."""
    return tag("p", escape(text), class_)


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    chosen: Sequence[bool] = (),
    prose: Collection[int] = (),
) -> str:
    """A table.

    Args:
        heads: plain text.
        rows: HTML in cells.
        chosen: rows to stand out.
        prose: columns that hold words, not numbers, by their places.
    """
    marks = [*chosen, *[False] * (len(rows) - len(chosen))]
    head = tag("thead", tag("tr", _cells("th", [escape(cell) for cell in heads], prose)))
    body = "".join(
        tag("tr", _cells("td", row, prose), "chosen" if mark else "")
        for row, mark in zip(rows, marks, strict=True)
    )
    many = " dense" if len(heads) > _MANY_COLUMNS else ""
    return tag("div", tag("table", head + tag("tbody", body)), f"wide{many}")


def _cells(kind: str, row: Sequence[str], prose: Collection[int]) -> str:
    return "".join(
        tag(kind, cell, "words" if place in prose else "") for place, cell in enumerate(row)
    )


def small(text: str) -> str:
    """Plain text in small letters."""
    return f'<span class="small">{escape(text)}</span>'


def stacked(estimate: str) -> str:
    """A number with its interval below it, as `words.estimate` wrote both."""
    value, _, interval = estimate.partition(" (")
    return f"{escape(value)}<br>{small(interval.removesuffix(')'))}" if interval else escape(value)


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
