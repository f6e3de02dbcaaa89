"""The report's figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgecritic_bench.quantization.page.svg import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    RULE,
    VERMILION,
    Anchor,
    Figure,
    Scale,
    Shape,
    shade,
)
from edgecritic_bench.quantization.words import number

Written = Callable[[float], str]
_LOOKS: Mapping[str, tuple[Shape, str, str]] = {
    "hf": ("diamond", INK, "transformers"),
    "llamacpp": ("circle", BLUE, "GGUF, llama.cpp"),
    "onnx": ("square", VERMILION, "ONNX Runtime"),
}
_OTHER: tuple[Shape, str, str] = ("triangle", PURPLE, "other")
_LABEL_HEIGHT, _LETTER = 13.5, 7.0
_LEFT, _RIGHT = 58.0, 752.0
"""Between which words of a scatter stand."""
_BESIDE, _FURTHER = 11.0, 46.0
"""From a dot to its name, where there is room and where others' names stand between."""
MANY = 12
"""Arms beyond which figures make room for more."""
DRAWN = 8
"""Of many arms, those that get a small figure each."""
_NARROW = 2.0
"""Powers of ten on an axis up to which steps between them are written."""


@dataclass(frozen=True, slots=True)
class Point:
    """A dot with its interval.

    Attributes:
        name: written beside it.
        backend: decides its looks.
        x: place across.
        y: place up.
        low: lower end of the interval; NaN for none.
        high: upper end.
    """

    name: str
    backend: str
    x: float
    y: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True)
class Axes:
    """What a scatter's axes say.

    Attributes:
        title: for screen readers.
        x: words below.
        y: words above.
        write_x: numbers across.
        write_y: numbers up.
        from_zero: the upward axis begins at 0.
        powers: equal steps across are equal ratios.
    """

    title: str
    x: str
    y: str
    write_x: Written
    write_y: Written
    from_zero: bool = True
    powers: bool = False


def looks(backend: str) -> tuple[Shape, str, str]:
    """Shape, colour and name of a runtime."""
    return _LOOKS.get(backend, _OTHER)


def scatter(points: Sequence[Point], axes: Axes) -> Figure:
    """Dots with intervals and names."""
    if axes.powers:
        points = [replace(p, x=math.log10(p.x) if p.x > 0 else math.nan) for p in points]
    points = [point for point in points if math.isfinite(point.x) and math.isfinite(point.y)]
    base = 330 + 10 * max(0, len(points) - MANY)
    figure = Figure(760, base + 50, axes.title)
    if not points:
        return _nothing(figure)
    ends = [v for p in points for v in (p.y, p.low, p.high) if math.isfinite(v)]
    bottom = 0.0 if axes.from_zero else min(ends) - 0.06 * ((max(ends) - min(ends)) or 1)
    top = max(ends) + 0.08 * ((max(ends) - bottom) or 0.01)
    across, up = _across(points, axes.powers), Scale(bottom, top, base, 34)
    for tick in up.ticks():
        figure.line((56, up(tick)), (744, up(tick)), stroke=RULE if tick else INK)
        figure.text(48, up(tick) + 4, axes.write_y(tick), "end", fill=MUTED)
    for tick in _ratios(across) if axes.powers else across.ticks(7):
        number_there = axes.write_x(float(f"{10**tick:.3g}") if axes.powers else tick)
        figure.line((across(tick), base), (across(tick), base + 5), stroke=MUTED)
        figure.text(across(tick), base + 20, number_there, "middle", fill=MUTED)
    figure.text(400, base + 43, axes.x, "middle", fill=INK)
    figure.text(8, 16, axes.y, fill=INK)
    # Words keep clear of all dots, and of words that stand already.
    taken = [(across(p.x) - 9, across(p.x) + 9, up(p.y) + 4) for p in points]
    written: list[tuple[float, float, str, Anchor]] = []
    for point in sorted(points, key=lambda point: (-point.x, point.y)):
        shape, colour, _ = looks(point.backend)
        x, y = across(point.x), up(point.y)
        if math.isfinite(point.low):
            figure.line(
                (x, up(point.low)),
                (x, up(point.high)),
                stroke=colour,
                stroke_width=1.5,
                opacity=0.5,
            )
        figure.marker(x, y, shape, colour, 6)
        away, place = _free((x, y + 4), _LETTER * len(point.name), base, taken)
        if abs(away) > _BESIDE or abs(place - y - 4) > _LABEL_HEIGHT:
            end = x + away - math.copysign(3, away)
            figure.line((x, y), (end, place - 4), stroke=MUTED, stroke_width=0.7)
        written.append((x + away, place, point.name, "start" if away > 0 else "end"))
    for left, place, name, anchor in written:
        figure.text(left, place, name, anchor, fill=INK, class_="label")
    return figure


def _across(points: Sequence[Point], powers: bool) -> Scale:
    """The lower axis, with room for words at its end."""
    right = max(point.x for point in points)
    if not powers:
        return Scale(0, right * 1.2 or 1, 56, 744)
    left = math.floor(min(point.x for point in points))
    end = right + 0.25 * (right - left)
    return Scale(left, end if end - left <= _NARROW else max(math.ceil(right), end), 56, 744)


def _ratios(scale: Scale) -> list[float]:
    """Logarithms of 1, 2 and 5 times powers of ten within an axis; of a wide one the powers."""
    whole = range(math.floor(scale.low), math.ceil(scale.high) + 1)
    steps = (1, 2, 5) if scale.high - scale.low <= _NARROW else (1,)
    found = [power + math.log10(step) for power in whole for step in steps]
    return [tick for tick in found if scale.low - 1e-9 <= tick <= scale.high + 1e-9]


def _free(
    at: tuple[float, float], width: float, base: float, taken: list[tuple[float, float, float]]
) -> tuple[float, float]:
    """How far right of a dot words begin, or left of it end, and at which height.

    The nearest place at which they overlap no others; it is taken.
    """
    x, y = at
    places = (
        (away, x + away - (width if away < 0 else 0), y + step * _LABEL_HEIGHT)
        for step in sorted(range(-40, 41), key=abs)
        for away in (_BESIDE, -_BESIDE, _FURTHER)
    )
    found = next(
        (
            (away, left, place)
            for away, left, place in places
            if left > _LEFT
            and left + width < _RIGHT
            and 2 * _LABEL_HEIGHT < place < base - 2
            and not any(
                abs(place - other) < _LABEL_HEIGHT and left < end and start < left + width
                for start, end, other in taken
            )
        ),
        (_BESIDE, x + _BESIDE, y),
    )
    away, left, place = found
    taken.append((left, left + width, place))
    return away, place


def legend(backends: Sequence[str]) -> Figure:
    """Which looks are whose."""
    figure = Figure(170 * max(1, len(backends)), 22, "Runtimes")
    for place, backend in enumerate(backends):
        shape, colour, words = looks(backend)
        figure.marker(10 + 170 * place, 11, shape, colour, 5.5)
        figure.text(22 + 170 * place, 15, words, fill=INK)
    return figure


def interval_bar(low: float, value: float, high: float, margin: float, reach: float) -> Figure:
    """A difference with its interval beside the band of the margin.

    Args:
        low: lower end.
        value: the difference.
        high: upper end.
        margin: half of the band's width.
        reach: half of the bar's width, in the same unit.
    """
    figure = Figure(190, 22, f"{value:+.3g}, {low:+.3g} to {high:+.3g}, margin {margin:g}")
    scale = Scale(-reach, reach, 4, 186)
    figure.rect(scale(-margin), 1, scale(margin) - scale(-margin), 20, fill="#dff1ea", rx=2)
    figure.line((scale(0), 1), (scale(0), 21), stroke=MUTED, stroke_dasharray="2 2")
    inside = -margin < low and high < margin
    outside = high <= -margin or low >= margin
    colour = GREEN if inside else VERMILION if outside else INK
    figure.line((scale(low), 11), (scale(high), 11), stroke=colour, stroke_width=2.4)
    for end in (low, high):
        if abs(end) <= reach:
            figure.line((scale(end), 7), (scale(end), 15), stroke=colour, stroke_width=2)
        else:  # it goes on beyond the bar
            x, step = scale(end), 5 if end > 0 else -5
            figure.polyline(((x - step, 6), (x, 11), (x - step, 16)), stroke=colour)
    figure.marker(scale(value), 11, "circle", colour, 4.2)
    return figure


def bars(
    rows: Sequence[tuple[str, Mapping[str, float]]], colours: Mapping[str, str], write: Written
) -> Figure:
    """Bars of several kinds for each row.

    Args:
        rows: name, and value by kind; NaN draws none, and a kind that is not there takes no room.
        colours: by kind, in the order of drawing.
        write: numbers.
    """
    heights = [15 * len(found) + 14 for _, found in rows]
    left = _gutter([name for name, _ in rows])
    figure = Figure(left + 590, 40 + sum(heights), "Where the drift comes from")
    values = [value for _, found in rows for value in found.values() if math.isfinite(value)]
    scale = Scale(0, max([*values, 1e-9]) * 1.12, left, left + 570)
    for place, (kind, colour) in enumerate(colours.items()):
        figure.rect(left + 150 * place, 4, 12, 12, fill=colour, rx=2)
        figure.text(left + 18 + 150 * place, 14, kind, fill=INK)
    top = 34
    for (name, found), height in zip(rows, heights, strict=True):
        figure.text(left - 10, top + height / 2 - 3, name, "end", fill=INK, class_="label")
        figure.line((left, top - 4), (left, top + height - 12), stroke=MUTED)
        for place, kind in enumerate(kind for kind in colours if kind in found):
            value, colour = found[kind], colours[kind]
            y = top + 15 * place
            if not math.isfinite(value):
                figure.text(left + 6, y + 9, "-", fill=MUTED, font_size=10)
                continue
            figure.rect(left, y, scale(value) - left, 11, fill=colour, rx=1.5)
            figure.text(scale(value) + 6, y + 9.5, write(value), fill=MUTED, font_size=10.5)
        top += height
    return figure


def matrix(counts: Sequence[Sequence[int]], title: str, across: str) -> Figure:
    """Counts of levels: the reference's down, the arm's across."""
    n, cell = len(counts), 19
    figure = Figure(44 + n * cell, 60 + n * cell, f"Levels: {title}")
    most = max(max(row) for row in counts) or 1
    figure.text(34, 14, title, fill=INK, class_="label", font_weight=600)
    figure.rect(34, 24, n * cell - 1, n * cell - 1, fill="#fff", stroke=RULE, stroke_width=0.6)
    cells = [
        (34 + j * cell, 24 + (n - 1 - i) * cell, count)
        for i, row in enumerate(counts)
        for j, count in enumerate(row)
        if count
    ]
    shades = [shade(math.log1p(count) / math.log1p(most)) for *_, count in cells]
    for (x, y, _), (colour, _) in zip(cells, shades, strict=True):
        figure.rect(x, y, cell - 1, cell - 1, fill=colour)
    with figure.grouped(fill="none", stroke=MUTED, stroke_width=0.6):
        for i in range(n):
            figure.rect(34 + i * cell, 24 + (n - 1 - i) * cell, cell - 1, cell - 1)
    with figure.grouped(text_anchor="middle", font_size=8.5):
        for (x, y, count), (_, ink) in zip(cells, shades, strict=True):
            figure.text(x + 9, y + 13, str(count), fill=ink)
    with figure.grouped(text_anchor="middle", font_size=10, fill=MUTED):
        for i in range(n):
            figure.text(23, 37 + (n - 1 - i) * cell, str(i + 1))
            figure.text(34 + (i + 0.5) * cell, 37 + n * cell, str(i + 1))
    figure.text(34 + n * cell / 2, 24 + n * cell + 30, across, "middle", fill=MUTED, font_size=10.5)
    return figure


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Callable[[str, str], float],
    write: Written,
    most: float | None = None,
) -> Figure:
    """Values of rows by columns, each written in its cell; many columns become rows.

    Args:
        rows: names.
        columns: names.
        values: of a row and a column; NaN leaves the cell empty.
        write: numbers.
        most: the value of the darkest cell; the greatest when None.
    """
    if len(columns) > max(MANY, len(rows)):
        return heat_map(columns, rows, lambda c, r: values(r, c), write, most)
    width = max(54, min(92, 560 / max(1, len(columns))))
    heads = [_lines(column, int(width / 6.2)) for column in columns]
    top = 12 + 13 * max(map(len, heads), default=1)
    left = _gutter(rows)
    figure = Figure(left + 10 + width * len(columns), top + 4 + 23 * len(rows), "Heat map")
    found = [values(row, column) for row in rows for column in columns]
    darkest = most or max([v for v in found if math.isfinite(v)], default=0) or 1
    for j, lines in enumerate(heads):
        for k, word in enumerate(lines):
            figure.text(left + (j + 0.5) * width, 16 + 13 * k, word, "middle", fill=INK)
    for i, row in enumerate(rows):
        y = top + 23 * i
        figure.text(left - 8, y + 15, row, "end", fill=INK)
        for j, column in enumerate(columns):
            value = values(row, column)
            if not math.isfinite(value):
                figure.rect(left + j * width, y, width - 2, 21, fill=FAINT)
                continue
            colour, ink = shade(value / darkest)
            figure.rect(
                left + j * width, y, width - 2, 21, fill=colour, stroke=RULE, stroke_width=0.5
            )
            figure.text(left + (j + 0.49) * width, y + 15, write(value), "middle", fill=ink)
    return figure


def _gutter(names: Sequence[str]) -> float:
    """Room for words left of a figure."""
    return max(170.0, _LETTER * max(map(len, names), default=0) + 12)


def _lines(words: str, most: int) -> list[str]:
    """Words in lines of about so many letters, three at most."""
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + len(word) >= most:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines[:3]


def reliability(found: Mapping[str, Any], title: str, colour: str) -> Figure:
    """Confidence across, the share that is right upwards; dots grow with their rows."""
    figure = Figure(226, 226, f"Calibration: {title}")
    across, up = Scale(0, 1, 34, 200), Scale(0, 1, 190, 24)
    figure.text(34, 13, title, fill=INK, class_="label", font_weight=600)
    for tick in (0, 0.5, 1):
        figure.line((34, up(tick)), (200, up(tick)), stroke=RULE)
        figure.text(28, up(tick) + 4, f"{tick:.0%}", "end", fill=MUTED, font_size=10)
        figure.text(across(tick), 206, f"{tick:.0%}", "middle", fill=MUTED, font_size=10)
    figure.line((across(0), up(0)), (across(1), up(1)), stroke=MUTED, stroke_dasharray="4 3")
    places = [
        (across(confidence), up(accuracy), count)
        for confidence, accuracy, count in zip(
            found["confidence"], found["accuracy"], found["count"], strict=True
        )
        if count
    ]
    figure.polyline([(x, y) for x, y, _ in places], stroke=colour, stroke_width=1.4, opacity=0.6)
    most = max((count for *_, count in places), default=1)
    for x, y, count in places:
        figure.marker(x, y, "circle", colour, 2.2 + 4 * math.sqrt(count / most))
    figure.text(117, 221, "probability given", "middle", fill=MUTED, font_size=10)
    error = number(found["error"]["value"])
    figure.text(198, 180, f"error {error:.3f}", "end", fill=INK, font_size=10.5)
    return figure


def _nothing(figure: Figure) -> Figure:
    figure.text(figure.width / 2, figure.height / 2, "nothing to draw", "middle", fill=MUTED)
    return figure


DRIFT_COLOURS = {"noise": "#9aa5b4", "runtime": ORANGE, "quantization": BLUE, "in all": INK}
"""Kinds of drift, in the order of their bars."""
