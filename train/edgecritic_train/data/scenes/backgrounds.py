"""Papers and simple drawn places to put things on."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from edgecritic_train.data.dice import chance, pick, spread, whole
from edgecritic_train.data.scenes.layout import LARGEST, Size
from edgecritic_train.data.scenes.palette import Rgb, paper

PLAIN_GROUNDS = ("plain", "gradient", "texture")
"""For shapes and text: one mean colour that they can be held against."""
DRAWN_GROUNDS = ("meadow", "room", "sea", "hills", "dots")
"""For sprites only."""
HELD_OUT_GROUNDS = ("stripes", "checks")

_TEXTURES = 12


def ground(
    rng: np.random.Generator, size: Size, kinds: tuple[str, ...], base: Rgb | None = None
) -> Image.Image:
    """A background of one of the given kinds.

    Args:
        rng: the item's generator.
        size: (width, height) in pixels.
        kinds: from `PLAIN_GROUNDS`, `DRAWN_GROUNDS` or `HELD_OUT_GROUNDS`.
        base: mean colour of the plain and patterned ones; drawn places are always pale.
    """
    kind = pick(rng, kinds)
    base = base or paper(rng)
    if kind == "plain":
        return Image.new("RGB", size, base)
    if kind == "gradient":
        shift = whole(rng, 12, 26) * (1 if sum(base) < 500 else -1)
        other = (_byte(base[0] + shift), _byte(base[1] + shift), _byte(base[2] + shift))
        return _gradient(size, base, other, chance(rng, 0.5))
    if kind == "texture":
        return _texture(rng, size, base)
    if kind in HELD_OUT_GROUNDS:
        return _pattern(rng, size, kind, base)
    return _place(rng, size, kind)


def _between(mask: Image.Image, black: Rgb, white: Rgb) -> Image.Image:
    """A grey picture in two colours and those between them."""
    image = Image.new("RGB", mask.size, black)
    image.paste(white, mask=mask)
    return image


def _byte(value: int) -> int:
    return min(max(value, 0), 255)


def _gradient(size: Size, one: Rgb, other: Rgb, sideways: bool) -> Image.Image:
    return _between(_ramp(sideways).resize(size), one, other)


@cache
def _ramp(sideways: bool) -> Image.Image:
    ramp = Image.linear_gradient("L")
    return ramp.transpose(Image.Transpose.ROTATE_90) if sideways else ramp


@cache
def _grain(number: int) -> Image.Image:
    """A fixed sheet of grey grain; coarser for higher numbers."""
    rng = np.random.Generator(np.random.PCG64(number))
    side = LARGEST // (1 + number % 4)
    sheet = rng.normal(128, 60, (side, side)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(sheet).resize((LARGEST, LARGEST), Image.Resampling.BILINEAR)


def _texture(rng: np.random.Generator, size: Size, base: Rgb) -> Image.Image:
    left, top = whole(rng, 0, LARGEST - size[0]), whole(rng, 0, LARGEST - size[1])
    grain = _grain(whole(rng, 0, _TEXTURES - 1)).crop((left, top, left + size[0], top + size[1]))
    depth = whole(rng, 8, 18)
    low = (_byte(base[0] - depth), _byte(base[1] - depth), _byte(base[2] - depth))
    high = (_byte(base[0] + depth), _byte(base[1] + depth), _byte(base[2] + depth))
    return _between(grain, low, high)


def _pattern(rng: np.random.Generator, size: Size, kind: str, base: Rgb) -> Image.Image:
    shift = 11 if sum(base) < 380 else -11
    other = (base[0] + shift, base[1] + shift, base[2] + shift)
    image = Image.new("RGB", size, base)
    draw = ImageDraw.Draw(image)
    step = whole(rng, 12, 30)
    for column, left in enumerate(range(0, size[0], step)):
        for row, top in enumerate(range(0, size[1], step if kind == "checks" else size[1])):
            if (column + row) % 2:
                bottom = top + (step if kind == "checks" else size[1])
                draw.rectangle((left, top, left + step - 1, bottom - 1), fill=other)
    return image


def _place(rng: np.random.Generator, size: Size, kind: str) -> Image.Image:
    width, height = size
    line = int(height * spread(rng, 0.45, 0.75))
    if kind == "dots":
        return _dots(rng, size)
    if kind == "room":
        image = Image.new("RGB", size, paper(rng))
        draw = ImageDraw.Draw(image)
        floor = whole(rng, 150, 195)
        draw.rectangle((0, line, width, height), fill=(floor + 25, floor, floor - 30))
        draw.line((0, line, width, line), fill=(140, 120, 100), width=2)
        return image
    sky = (whole(rng, 190, 225), whole(rng, 220, 240), whole(rng, 244, 255))
    image = Image.new("RGB", size, sky)
    draw = ImageDraw.Draw(image)
    if kind == "sea":
        draw.rectangle((0, line, width, height), fill=(130, whole(rng, 185, 205), 228))
        return image
    if kind == "hills":
        for _ in range(3):
            middle, reach = whole(rng, 0, width), whole(rng, width // 3, width)
            tone = whole(rng, 0, 25)
            box = (middle - reach, line, middle + reach, line + height)
            draw.ellipse(box, fill=(165 + tone, 215 + tone // 2, 150 + tone))
        return image
    green = whole(rng, 0, 30)
    draw.rectangle((0, line, width, height), fill=(160 + green, 210 + green // 2, 140 + green))
    return image


def _dots(rng: np.random.Generator, size: Size) -> Image.Image:
    base = paper(rng)
    image = Image.new("RGB", size, base)
    draw = ImageDraw.Draw(image)
    tone = (base[0] - 16, base[1] - 16, base[2] - 16)
    step = whole(rng, 14, 26)
    for left in range(step // 2, size[0], step):
        for top in range(step // 2, size[1], step):
            draw.ellipse((left - 2, top - 2, left + 2, top + 2), fill=tone)
    return image
