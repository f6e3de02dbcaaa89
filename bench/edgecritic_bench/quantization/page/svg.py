"""Small SVG figures, written by hand: text stays text, colours are told apart by everyone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Literal, TypeAlias

Anchor: TypeAlias = Literal["start", "middle", "end"]
Shape: TypeAlias = Literal["circle", "square", "diamond", "triangle"]

# Okabe and Ito's colours, which people with any colour vision tell apart.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
INK, MUTED, RULE, FAINT = "#1c2430", "#5b6676", "#d5dae1", "#eef1f5"
_LOW, _HIGH = (247, 250, 253), (8, 64, 129)
_DARK_FROM = 0.55
"""Share of a heat map's range above which its text is white."""


@dataclass(slots=True)
class Figure:
    """A drawing.

    Attributes:
        width: of the drawing, in its own units.
        height: likewise.
        title: what a screen reader says.
        parts: its elements, the first one lowest.
    """

    width: float
    height: float
    title: str
    parts: list[str] = field(default_factory=list)

    def line(self, start: tuple[float, float], end: tuple[float, float], **style: object) -> None:
        """A line; black and thin unless the style says otherwise."""
        (x1, y1), (x2, y2) = start, end
        places = f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"'
        self.parts.append(f"<line {places}{_style({'stroke': INK, **style})}/>")

    def rect(self, x: float, y: float, width: float, height: float, **style: object) -> None:
        """A box."""
        size = f'width="{_n(max(0.0, width))}" height="{_n(height)}"'
        self.parts.append(f'<rect x="{_n(x)}" y="{_n(y)}" {size}{_style(style)}/>')

    def text(
        self, x: float, y: float, words: str, anchor: Anchor = "start", **style: object
    ) -> None:
        """Words; their size comes from the page unless the style has one."""
        ends = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}"{ends}{_style(style)}>{escape(words)}</text>'
        )

    @contextmanager
    def grouped(self, **style: object) -> Iterator[None]:
        """What is drawn meanwhile has a style in common."""
        self.parts.append(f"<g{_style(style)}>")
        yield
        self.parts.append("</g>")

    def polyline(self, points: Sequence[tuple[float, float]], **style: object) -> None:
        """Connected lines."""
        places = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        self.parts.append(f'<polyline points="{places}"{_style({"fill": "none", **style})}/>')

    def marker(self, x: float, y: float, shape: Shape, colour: str, size: float = 5) -> None:
        """A point of one of several shapes, so that colour is not all that tells them apart."""
        style = f' fill="{colour}" stroke="#fff" stroke-width="1.2"'
        if shape == "circle":
            self.parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(size)}"{style}/>')
            return
        corners = {
            "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
            "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
            "triangle": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
        }[shape]
        places = " ".join(f"{_n(x + dx * size)},{_n(y + dy * size)}" for dx, dy in corners)
        self.parts.append(f'<polygon points="{places}"{style}/>')

    def __str__(self) -> str:
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            f'aria-label="{escape(self.title)}" style="max-width:{self.width:g}px">'
            f"<title>{escape(self.title)}</title>{''.join(self.parts)}</svg>"
        )


def _n(value: float) -> str:
    """A place, to a tenth: figures are most of a report's size."""
    return f"{value:.1f}".removesuffix(".0")


def _style(style: dict[str, object]) -> str:
    return "".join(
        f' {name.rstrip("_").replace("_", "-")}="{value}"' for name, value in style.items()
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers to places on an axis.

    Attributes:
        low: number at `start`.
        high: number at `end`.
        start: place.
        end: place.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a number, held within the axis."""
        span = (self.high - self.low) or 1.0
        share = min(1.0, max(0.0, (value - self.low) / span))
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round numbers within the axis."""
        span = self.high - self.low
        if not span > 0:
            return [self.low]
        raw = span / about
        unit = 10 ** math.floor(math.log10(raw))
        step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= raw * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(k * step, 10) for k in range(first, last + 1)]


def shade(share: float) -> tuple[str, str]:
    """Colours of a heat map's cell and of the text in it.

    Args:
        share: 0 to 1 of its range.
    """
    share = min(1.0, max(0.0, share))
    mixed = (round(low + (high - low) * share**0.8) for low, high in zip(_LOW, _HIGH, strict=True))
    return f"rgb({','.join(map(str, mixed))})", "#fff" if share > _DARK_FROM else INK
