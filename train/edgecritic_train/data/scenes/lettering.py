"""Printed words and numbers: signs, tags, notes and plates."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from edgecritic_train.data.dice import chance, pick, spread, whole
from edgecritic_train.data.scenes.backgrounds import HELD_OUT_GROUNDS, PLAIN_GROUNDS, ground
from edgecritic_train.data.scenes.layout import Size
from edgecritic_train.data.scenes.palette import COLOURS, Rgb, ink_for, paper
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.splits import novel_look

_BOARDS = ("none", "board", "rounded", "tag", "disc")


def printed(setting: Setting, text: str, board: str | None = None) -> Image.Image:
    """A text on a page, a board, a price tag or a round sign.

    Args:
        setting: assets, split and generator.
        text: one short line.
        board: "none", "board", "rounded", "tag" or "disc"; random if not given.
    """
    rng = setting.rng
    size = _canvas(rng, len(text))
    board = board or pick(rng, _BOARDS[:3])
    base = paper(rng, "deep" if chance(rng, 0.3) else "pale")
    kinds = HELD_OUT_GROUNDS if novel_look(setting.split) else PLAIN_GROUNDS
    page = ground(rng, size, kinds, base)
    box = _board_box(rng, size, board)
    surface = base if board == "none" else _draw_board(rng, page, board, box)
    font = pick(rng, setting.fonts())
    inset = (0.78 if board in ("tag", "disc") else 0.9) * spread(rng, 0.8, 1.0)
    left, top, right, bottom = box
    room = ((right - left) * inset, (bottom - top) * inset * 0.85)
    lettering, ink = fitted(setting, font, text, room)
    corner = ((left + right - ink[0] - ink[2]) / 2, (top + bottom - ink[1] - ink[3]) / 2)
    draw = ImageDraw.Draw(page)
    draw.text(corner, text, font=setting.font(font, lettering), fill=ink_for(rng, surface))
    return page


def fitted(
    setting: Setting, font: str, text: str, room: tuple[float, float]
) -> tuple[int, tuple[int, int, int, int]]:
    """The largest font size at which a text fits, and its box at that size."""
    probe = setting.font(font, 40).getbbox(text)
    scale = min(room[0] / max(1.0, probe[2] - probe[0]), room[1] / max(1.0, probe[3] - probe[1]))
    size = max(8, int(40 * scale) // 2 * 2)
    box = setting.font(font, size).getbbox(text)
    return size, (int(box[0]), int(box[1]), int(box[2]), int(box[3]))


def _canvas(rng: np.random.Generator, letters: int) -> Size:
    width = whole(rng, 150, 300) if letters > 3 else whole(rng, 110, 260)
    if chance(rng, 0.5):
        return (width, width)
    return (width, max(96, int(width * spread(rng, 0.4, 0.8))))


def _board_box(rng: np.random.Generator, size: Size, board: str) -> tuple[int, int, int, int]:
    width = int(size[0] * spread(rng, 0.8, 0.97))
    height = int(min(size[1] * 0.95, width * spread(rng, 0.35, 0.7)))
    if board == "disc":
        width = height = int(min(size) * spread(rng, 0.75, 0.96))
    left = int((size[0] - width) * rng.random())
    top = int((size[1] - height) * rng.random())
    return (left, top, left + width, top + height)


def _draw_board(
    rng: np.random.Generator, page: Image.Image, board: str, box: tuple[int, int, int, int]
) -> Rgb:
    """Draws the surface that carries the text and returns its colour."""
    draw = ImageDraw.Draw(page)
    if chance(rng, 0.6):
        surface = COLOURS[pick(rng, ("red", "blue", "green", "yellow", "white", "black"))]
    else:
        surface = paper(rng, "pale")
    rim = ink_for(rng, surface)
    line = whole(rng, 0, 4)
    if board == "disc":
        draw.ellipse(box, fill=(250, 250, 250), outline=COLOURS["red"], width=max(3, box[2] // 18))
        return (250, 250, 250)
    if board == "tag":
        left, top, right, bottom = box
        notch = (bottom - top) // 4
        corners = [(left + notch, top), (right, top), (right, bottom), (left + notch, bottom)]
        corners += [(left, bottom - notch), (left, top + notch)]
        draw.polygon(corners, fill=surface, outline=rim)
        hole = (top + bottom) // 2
        draw.ellipse((left + 5, hole - 4, left + 13, hole + 4), fill=(128, 128, 128))
        return surface
    radius = 0 if board == "board" else min(box[2] - box[0], box[3] - box[1]) // 5
    draw.rounded_rectangle(box, radius, fill=surface, outline=rim, width=line)
    return surface
