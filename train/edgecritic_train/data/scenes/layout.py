"""Where things go: canvas sizes and places that do not overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecritic_train.data.dice import chance, pick, spread, whole

Size = tuple[int, int]

SMALLEST, LARGEST = 96, 320


@dataclass(frozen=True, slots=True)
class Place:
    """A square in a picture: its centre and side, in pixels."""

    x: float
    y: float
    side: float


def canvas_size(rng: np.random.Generator, least: int = 128, most: int = 288) -> Size:
    """Width and height of a picture: square in half of the cases, at most 1.6 : 1 otherwise."""
    long_side = whole(rng, least, most)
    if chance(rng, 0.5):
        return (long_side, long_side)
    short_side = max(SMALLEST, int(long_side / spread(rng, 1.1, 1.6)))
    return pick(rng, ((long_side, short_side), (short_side, long_side)))


def scattered(
    rng: np.random.Generator, size: Size, count: int, fill: tuple[float, float] = (0.62, 0.92)
) -> list[Place]:
    """Places in different cells of a grid, moved about inside their cells, in random order.

    Args:
        rng: the item's generator.
        size: the canvas, (width, height) in pixels.
        count: how many places.
        fill: the side of a place as a share of its cell, lowest and highest.
    """
    width, height = size
    columns = min(range(1, count + 1), key=lambda n: _waste(width, height, n, count))
    rows = -(-count // columns)
    cell_w, cell_h = width / columns, height / rows
    cells = rng.permutation(columns * rows)[:count]
    return [
        _inside(rng, ((cell % columns) * cell_w, (cell // columns) * cell_h, cell_w, cell_h), fill)
        for cell in map(int, cells)
    ]


def in_line(
    rng: np.random.Generator, size: Size, count: int, across: bool, fill: float = 0.9
) -> list[Place]:
    """Places from left to right, or from top to bottom, each in its own strip.

    The coordinate along the line is clearly ordered; the other one is free.
    """
    width, height = size
    places = []
    for step in range(count):
        if across:
            strip = (step * width / count, 0.0, width / count, float(height))
        else:
            strip = (0.0, step * height / count, float(width), height / count)
        places.append(_inside(rng, strip, (0.6, fill)))
    return places


def _inside(
    rng: np.random.Generator,
    cell: tuple[float, float, float, float],
    fill: tuple[float, float],
) -> Place:
    left, top, width, height = cell
    side = min(width, height) * spread(rng, *fill)
    x = left + side / 2 + (width - side) * float(rng.random())
    y = top + side / 2 + (height - side) * float(rng.random())
    return Place(x, y, side)


def _waste(width: int, height: int, columns: int, count: int) -> float:
    """How far a grid's cells are from square, and how many stay empty."""
    rows = -(-count // columns)
    aspect = (width / columns) / (height / rows)
    return max(aspect, 1 / aspect) + 0.4 * (columns * rows - count)
