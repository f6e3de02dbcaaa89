"""A contact sheet: items as a person would check them, at the size the critic sees."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from edgecritic_train.data.items import Response, TwinItem

_SIDE = 192
_TEXT = 112
_MARGIN = 8
_COLUMNS = 4


def contact_sheet(items: Sequence[TwinItem]) -> Image.Image:
    """Both images of every item at 192 px, with the question and best and worst responses."""
    cell = (2 * _SIDE + 3 * _MARGIN, _SIDE + _TEXT + 2 * _MARGIN)
    rows = -(-len(items) // _COLUMNS)
    page = Image.new("RGB", (cell[0] * _COLUMNS, cell[1] * rows), (255, 255, 255))
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(11)
    for index, item in enumerate(items):
        left, top = (index % _COLUMNS) * cell[0], (index // _COLUMNS) * cell[1]
        for side in (0, 1):
            picture = item.images[side].copy()
            picture.thumbnail((_SIDE, _SIDE))
            page.paste(picture, (left + _MARGIN + side * (_SIDE + _MARGIN), top + _MARGIN))
        text = "\n".join(_caption(item))
        draw.multiline_text(
            (left + _MARGIN, top + _SIDE + 2 * _MARGIN), text, (0, 0, 0), font, spacing=1
        )
    return page


def _caption(item: TwinItem) -> list[str]:
    best = max(item.responses, key=lambda response: response.scores[0])
    middle = sorted(item.responses, key=lambda response: response.scores[0])[
        len(item.responses) // 2 - 1
    ]
    lines = [f"[{item.kind}] {item.question}", *_lines(best), *_lines(middle)]
    return [line for entry in lines for line in textwrap.wrap(entry, 74)]


def _lines(response: Response) -> list[str]:
    scores = f"{response.scores[0]}/{response.scores[1]}"
    text = response.text.replace("\n", " / ")
    return [f"{scores} {text}", f"  A: {response.reasons[0]}"]
