"""Handwritten digits in ink on paper."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from edgecritic_train.data.assets import UInt8Array
from edgecritic_train.data.dice import any_of, chance, spread
from edgecritic_train.data.scenes.backgrounds import HELD_OUT_GROUNDS, PLAIN_GROUNDS, ground
from edgecritic_train.data.scenes.layout import Size, canvas_size
from edgecritic_train.data.scenes.palette import ink_for, paper
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.splits import novel_look


def handwritten(setting: Setting, number: str, size: Size | None = None) -> Image.Image:
    """A number of one or more digits, written by hand.

    Args:
        setting: assets, split and generator.
        number: its digits.
        size: the canvas; random if not given, wider for more digits.
    """
    rng = setting.rng
    size = size or number_canvas(rng, len(number))
    base = paper(rng, "deep" if chance(rng, 0.3) else "pale")
    kinds = HELD_OUT_GROUNDS if novel_look(setting.split) else PLAIN_GROUNDS
    page = ground(rng, size, kinds, base)
    ink = _row_of_digits(setting, number)
    room = spread(rng, 0.55, 0.92)
    scale = min(size[0] * room / ink.width, size[1] * room / ink.height)
    ink = ink.resize(
        (max(1, int(ink.width * scale)), max(1, int(ink.height * scale))),
        Image.Resampling.BICUBIC,
    )
    ink = ink.point(_hardened)
    corner = (
        int((size[0] - ink.width) * rng.random()),
        int((size[1] - ink.height) * rng.random()),
    )
    page.paste(ink_for(rng, base), (*corner, corner[0] + ink.width, corner[1] + ink.height), ink)
    return page


def number_canvas(rng: np.random.Generator, digits: int) -> Size:
    """A canvas for so many digits."""
    if digits == 1:
        return canvas_size(rng, 96, 240)
    width = int(spread(rng, 150, 300))
    return (width, max(96, int(width * spread(rng, 0.45, 1.0))))


def _row_of_digits(setting: Setting, number: str) -> Image.Image:
    """Ink coverage of the number, white on black, digits side by side."""
    pictures = [_trimmed(any_of(setting.rng, setting.digits()[digit])) for digit in number]
    height = max(picture.height for picture in pictures)
    gap = 3
    row = Image.new("L", (sum(p.width + gap for p in pictures) + gap, height + 2 * gap))
    left = gap
    for picture in pictures:
        top = gap + (height - picture.height) // 2
        row.paste(picture, (left, top))
        left += picture.width + gap
    if chance(setting.rng, 0.1):
        return ImageOps.expand(row, 1).filter(ImageFilter.MaxFilter(3))
    return row


def _trimmed(pixels: UInt8Array) -> Image.Image:
    """One digit without its empty margin, 28 px high at least before trimming."""
    picture = Image.fromarray(pixels)
    if picture.height < 28:
        picture = picture.resize((28, 28), Image.Resampling.BICUBIC)
    box = picture.point(lambda v: 255 if v > 40 else 0).getbbox()
    return picture.crop(box) if box else picture


def _hardened(value: int) -> int:
    """Steeper coverage, so that an enlarged stroke keeps a clear edge."""
    return min(max(int((value - 60) * 1.9), 0), 255)
