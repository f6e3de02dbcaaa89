"""Pictures of concepts, redrawn a little so that no single drawing style is all there is."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from edgecritic_train.data.assets import Assets, Concept
from edgecritic_train.data.dice import chance, pick, spread, whole
from edgecritic_train.data.splits import augments_style, styles

_HANDED = ("symbol", "office")
"""Categories whose pictures may carry letters, which a mirror would spoil."""
_REDRAWN = 0.45
"""Share of training sprites that are redrawn in another manner."""
_MANNERS = (
    "outlined",
    "outlined",
    "outlined",
    "flat",
    "grey",
    "line",
    "soft",
    "tinted",
)


def draw_sprite(
    rng: np.random.Generator, assets: Assets, concept: Concept, split: str
) -> Image.Image:
    """A concept in one of the split's drawing styles, RGBA, about 96 px.

    In training the hue, brightness, proportions and sometimes the whole manner of drawing change.
    """
    style = pick(rng, styles(assets.sprite_styles(concept.name), split))
    sprite = assets.sprite(concept.name, style)
    if not augments_style(split):
        return sprite
    if chance(rng, _REDRAWN):
        sprite = _redrawn(rng, sprite, pick(rng, _MANNERS))
    if chance(rng, 0.4):
        sprite = _lit(rng, sprite)
    if concept.category not in _HANDED and chance(rng, 0.35):
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    stretch = spread(rng, 0.85, 1.18) if chance(rng, 0.5) else 1.0
    return sprite.resize((max(1, round(sprite.width * stretch)), sprite.height))


def mean_colour(sprite: Image.Image) -> tuple[int, int, int]:
    """The mean colour of what is drawn, without the transparent part."""
    small = np.asarray(sprite.resize((8, 8), Image.Resampling.BOX), dtype=np.float32)
    weight = small[..., 3:] + 1e-3
    red, green, blue = ((small[..., :3] * weight).sum((0, 1)) / weight.sum()).tolist()
    return (int(red), int(green), int(blue))


def _redrawn(rng: np.random.Generator, sprite: Image.Image, manner: str) -> Image.Image:
    alpha = sprite.getchannel("A")
    colours = sprite.convert("RGB")
    if manner == "outlined":
        return _outlined(rng, colours, alpha)
    if manner == "flat":
        colours = _levelled(colours.filter(ImageFilter.MedianFilter(3)), 4)
    elif manner == "grey":
        colours = ImageOps.grayscale(colours).convert("RGB")
    elif manner == "line":
        return _line_drawing(colours, alpha)
    elif manner == "soft":
        colours = colours.filter(ImageFilter.BoxBlur(1.5))
    else:
        ink = tuple(int(spread(rng, 0, 120)) for _ in range(3))
        colours = ImageOps.colorize(ImageOps.grayscale(colours), ink, (250, 250, 245))
    colours.putalpha(alpha)
    return colours


def _levelled(colours: Image.Image, levels: int) -> Image.Image:
    """The picture with so many evenly spaced levels in each channel."""
    step = 255 / (levels - 1)
    return colours.point(lambda v: round(round(v / step) * step))


def _edges(colours: Image.Image) -> Image.Image:
    """Where neighbouring colours differ: white lines on black."""
    edges = ImageOps.grayscale(colours).filter(ImageFilter.FIND_EDGES)
    return edges.point(lambda v: 255 if v > 44 else 0).filter(ImageFilter.BoxBlur(0.6))


def _outlined(rng: np.random.Generator, colours: Image.Image, alpha: Image.Image) -> Image.Image:
    """Flat colours with thick dark lines round the whole and round the inner parts."""
    thick = pick(rng, (3, 5))
    margin = thick // 2 + 1
    alpha = ImageOps.expand(alpha, margin)
    colours = ImageOps.expand(colours, margin, (255, 255, 255))
    flat = ImageEnhance.Color(_levelled(colours, whole(rng, 4, 7))).enhance(spread(rng, 1.0, 1.6))
    solid = alpha.point(lambda v: 255 if v > 100 else 0)
    ink = (20, 20, 24)
    inner = ImageChops.multiply(_edges(colours), solid.filter(ImageFilter.MinFilter(3)))
    if chance(rng, 0.7):
        flat.paste(ink, mask=inner.filter(ImageFilter.MaxFilter(3)))
    body = Image.new("RGB", flat.size, ink)
    body.paste(flat, mask=solid.filter(ImageFilter.MinFilter(3)))
    body.putalpha(solid.filter(ImageFilter.MaxFilter(thick)).filter(ImageFilter.BoxBlur(0.5)))
    return body


def _line_drawing(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    """Dark lines on white, the rim included."""
    lines = _edges(colours)
    rim = ImageChops.subtract(alpha, alpha.filter(ImageFilter.MinFilter(5)))
    lines = ImageChops.lighter(ImageChops.multiply(lines, alpha), rim)
    body = ImageOps.invert(lines).convert("RGB")
    body.putalpha(alpha)
    return body


def _lit(rng: np.random.Generator, sprite: Image.Image) -> Image.Image:
    """Other brightness and saturation, and sometimes a little other hue."""
    alpha = sprite.getchannel("A")
    colours = ImageEnhance.Brightness(sprite.convert("RGB")).enhance(spread(rng, 0.8, 1.15))
    colours = ImageEnhance.Color(colours).enhance(spread(rng, 0.4, 1.4))
    if chance(rng, 0.4):
        hue, saturation, value = colours.convert("HSV").split()
        turn = int(spread(rng, -18, 18))
        hue = hue.point(lambda v: (v + turn) % 256)
        colours = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    colours.putalpha(alpha)
    return colours
