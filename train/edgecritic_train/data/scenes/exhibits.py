"""Single pictures that are shown as they are: cards, flags, garments, photographs."""

from __future__ import annotations

from PIL import Image, ImageOps

from edgecritic_train.data.assets import UInt8Array
from edgecritic_train.data.dice import chance, pick, spread
from edgecritic_train.data.scenes.backgrounds import HELD_OUT_GROUNDS, PLAIN_GROUNDS, ground
from edgecritic_train.data.scenes.layout import SMALLEST, Size, canvas_size
from edgecritic_train.data.scenes.palette import ink_for, paper
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.splits import novel_look


def exhibited(setting: Setting, picture: Image.Image, turn: float = 6.0) -> Image.Image:
    """A picture laid on a background, filling most of it.

    Args:
        setting: assets, split and generator.
        picture: RGBA.
        turn: largest angle in degrees by which it lies askew.
    """
    rng = setting.rng
    size = canvas_size(rng, 128, 256)
    kinds = HELD_OUT_GROUNDS if novel_look(setting.split) else PLAIN_GROUNDS
    tone = pick(rng, ("pale", "pale", "deep", "middling"))
    scene = ground(rng, size, kinds, paper(rng, tone))
    if chance(rng, 0.5):
        angle = spread(rng, -turn, turn)
        picture = picture.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    room = spread(rng, 0.78, 0.98)
    picture = _scaled(picture, min(size[0] / picture.width, size[1] / picture.height) * room)
    corner = (
        int((size[0] - picture.width) * rng.random()),
        int((size[1] - picture.height) * rng.random()),
    )
    scene.paste(picture, corner, picture)
    return scene


def garment(setting: Setting, pixels: UInt8Array) -> Image.Image:
    """A clothing picture, light or dark, in one or two colours."""
    rng = setting.rng
    size = canvas_size(rng, 112, 224)
    picture = Image.fromarray(pixels)
    side = int(min(size) * spread(rng, 0.85, 1.0))
    picture = picture.resize((side, side), Image.Resampling.BICUBIC)
    back = paper(rng, "deep" if chance(rng, 0.5) else "pale")
    front = ink_for(rng, back)
    tinted = ImageOps.colorize(picture, back, front)
    scene = Image.new("RGB", size, back)
    corner = (
        int((size[0] - side) * rng.random()),
        int((size[1] - side) * rng.random()),
    )
    scene.paste(tinted, corner)
    return scene


def framed(photo: Image.Image) -> Image.Image:
    """A photograph on white, at least 96 px on both sides, no larger than it is otherwise."""
    size: Size = (max(SMALLEST, photo.width), max(SMALLEST, photo.height))
    scene = Image.new("RGB", size, (255, 255, 255))
    scene.paste(photo, ((size[0] - photo.width) // 2, (size[1] - photo.height) // 2), photo)
    return scene


def _scaled(picture: Image.Image, scale: float) -> Image.Image:
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BILINEAR)
