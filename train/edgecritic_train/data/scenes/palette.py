"""Colours that have one plain English name each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecritic_train.data.dice import chance, shuffled, spread, whole

Rgb = tuple[int, int, int]

COLOURS: dict[str, Rgb] = {
    "red": (214, 32, 36),
    "orange": (244, 132, 26),
    "yellow": (250, 216, 42),
    "green": (42, 158, 62),
    "blue": (36, 88, 208),
    "purple": (124, 48, 164),
    "pink": (246, 136, 188),
    "brown": (118, 70, 34),
    "black": (22, 22, 24),
    "white": (250, 250, 250),
}
COLOUR_NAMES: tuple[str, ...] = tuple(COLOURS)

_JITTER = 13
_TONES = {"pale": (205.0, 250.0), "deep": (26.0, 60.0), "middling": (120.0, 140.0)}
_STANDS_OUT = 75.0
"""Least Euclidean distance in RGB at which a thing stands out from its paper."""


def shade(rng: np.random.Generator, colour: str) -> Rgb:
    """A shade of a named colour, near enough to keep its name."""
    red, green, blue = COLOURS[colour]
    return _clip(
        red + whole(rng, -_JITTER, _JITTER),
        green + whole(rng, -_JITTER, _JITTER),
        blue + whole(rng, -_JITTER, _JITTER),
    )


def paper_for(rng: np.random.Generator, things: Sequence[Rgb]) -> Rgb:
    """A pale, deep or middling colour without a clear name, on which all things stand out."""
    tones = ["pale", "deep", "middling"]
    if chance(rng, 0.3):
        tones = shuffled(rng, tones)
    best, best_gap = (255, 255, 255), -1.0
    for tone in tones:
        candidate = paper(rng, tone)
        gap = min((distance(candidate, thing) for thing in things), default=_STANDS_OUT + 1)
        if gap > _STANDS_OUT:
            return candidate
        if gap > best_gap:
            best, best_gap = candidate, gap
    return best


def paper(rng: np.random.Generator, tone: str = "pale") -> Rgb:
    """A "pale", "deep" or "middling" colour without a clear name."""
    low, high = _TONES[tone]
    base = spread(rng, low, high)
    return _clip(*(int(base + spread(rng, -14, 10)) for _ in range(3)))


def distance(one: Rgb, other: Rgb) -> float:
    """Euclidean distance of two colours, 0..441."""
    return float(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5)


def ink_for(rng: np.random.Generator, ground: Rgb) -> Rgb:
    """A colour in which text and lines can be read on a background."""
    dark_ground = sum(ground) < 380
    low, high = (215, 255) if dark_ground else (0, 85)
    return _clip(*(int(spread(rng, low, high)) for _ in range(3)))


def _clip(red: int, green: int, blue: int) -> Rgb:
    return (min(max(red, 0), 255), min(max(green, 0), 255), min(max(blue, 0), 255))
