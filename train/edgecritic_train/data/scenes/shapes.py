"""Drawn shapes with a name and a colour."""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from edgecritic_train.data.dice import pick, spread
from edgecritic_train.data.scenes.palette import shade

SHAPES: tuple[str, ...] = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "diamond",
    "cross",
    "ring",
    "crescent",
    "hexagon",
)
FILLS = ("solid", "solid", "bordered", "shaded", "sketched")
HELD_OUT_FILLS = ("striped", "dotted")

_MASTER = 128
"""Masks are drawn once at this side and scaled down, which also smooths their edges."""


@cache
def _mask(shape: str) -> Image.Image:
    """The shape in white on black, nearly as wide as the square."""
    big = Image.new("L", (_MASTER * 2, _MASTER * 2), 0)
    draw = ImageDraw.Draw(big)
    if shape in ("circle", "ring", "crescent"):
        _draw_round(draw, shape)
    elif shape == "square":
        draw.rectangle((28, 28, 228, 228), fill=255)
    else:
        points = [(128 + 122 * x, 128 + 122 * y) for x, y in _outline(shape)]
        draw.polygon(points, fill=255)
    return big.resize((_MASTER, _MASTER), Image.Resampling.BOX)


def _draw_round(draw: ImageDraw.ImageDraw, shape: str) -> None:
    draw.ellipse((8, 8, 248, 248), fill=255)
    if shape == "ring":
        draw.ellipse((72, 72, 184, 184), fill=0)
    elif shape == "crescent":
        draw.ellipse((76, -12, 284, 196), fill=0)


def _outline(shape: str) -> list[tuple[float, float]]:
    """Corners in -1..1, y downwards."""
    if shape == "triangle":
        return [(0, -0.92), (1, 0.85), (-1, 0.85)]
    if shape == "diamond":
        return [(0, -1), (0.72, 0), (0, 1), (-0.72, 0)]
    if shape == "hexagon":
        return [(math.cos(a * math.pi / 3), math.sin(a * math.pi / 3)) for a in range(6)]
    if shape == "cross":
        arm = [(0.33, -1), (0.33, -0.33), (1, -0.33), (1, 0.33), (0.33, 0.33), (0.33, 1)]
        return arm + [(-x, -y) for x, y in arm]
    if shape == "star":
        return [_star_corner(step) for step in range(10)]
    turns = [step * math.tau / 48 for step in range(48)]
    return [(1.0 * math.sin(t) ** 3, -_heart_height(t) / 17 + 0.08) for t in turns]


def _star_corner(step: int) -> tuple[float, float]:
    reach = 1.05 if step % 2 == 0 else 0.42
    angle = step * math.pi / 5 - math.pi / 2
    return (reach * math.cos(angle), reach * math.sin(angle) + 0.06)


def _heart_height(t: float) -> float:
    return 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)


def draw_shape(
    rng: np.random.Generator, shape: str, colour: str, fills: tuple[str, ...] = FILLS
) -> Image.Image:
    """One shape, RGBA, 128 px square, with a little turn and one of the given fills."""
    mask = _mask(shape).rotate(spread(rng, -11, 11), Image.Resampling.BILINEAR)
    fill = pick(rng, fills)
    rgb = shade(rng, colour)
    if fill == "sketched" and shape not in ("circle", "ring"):  # whose outlines look alike
        mask = ImageChops.subtract(mask, _shrunk(mask, 13))
    body = Image.new("RGB", mask.size, rgb)
    darker = (rgb[0] * 6 // 10, rgb[1] * 6 // 10, rgb[2] * 6 // 10)
    edge = (120, 120, 120) if colour in ("black", "white") else darker
    if fill == "bordered":
        body.paste(edge, mask=ImageChops.invert(_shrunk(mask, 9)))
    elif fill == "shaded":
        ramp = Image.linear_gradient("L").resize(mask.size).point(lambda v: v * 2 // 5)
        body.paste(darker, mask=ramp)
    elif fill == "striped":
        draw = ImageDraw.Draw(body)
        for offset in range(-_MASTER, _MASTER, 20):
            draw.line((offset, _MASTER, offset + _MASTER, 0), fill=edge, width=5)
    elif fill == "dotted":
        draw = ImageDraw.Draw(body)
        for x, y in product(range(8, _MASTER, 18), repeat=2):
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=edge)
    body.putalpha(mask)
    return body


def _shrunk(mask: Image.Image, border: int) -> Image.Image:
    """The mask without its rim (by a blur and a threshold, far quicker than an erosion)."""
    blurred = mask.filter(ImageFilter.BoxBlur(border))
    return blurred.point(lambda v: 255 if v > 215 else 0)
