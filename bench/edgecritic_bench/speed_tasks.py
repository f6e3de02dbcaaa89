"""What the speed bench asks of both engines: one question, five responses, ever new pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

from PIL import Image, ImageDraw

QUESTION = "Which shapes does the image show?"
RESPONSES = (
    "A red circle and a blue square.",
    "Two green triangles.",
    "The image shows a red circle on the left and a blue square on the right of it.",
    "A yellow star.",
    "I cannot tell.",
)
ORDERED_PAIRS = tuple(permutations(range(len(RESPONSES)), 2))
_SIDE = 256


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The texts that both engines read, filled in from a bundle's own prompts.

    Attributes:
        system: the system turn.
        user: the user's turn behind the picture.
        stop: what follows a stated verdict.
    """

    system: str
    user: str
    stop: str


def default_picture() -> Image.Image:
    """A red circle beside a blue square."""
    picture = Image.new("RGB", (_SIDE, _SIDE), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((20, 70, 116, 166), fill="red")
    draw.rectangle((140, 70, 236, 166), fill="blue")
    return picture


def new_picture(base: Image.Image, number: int) -> bytes:
    """PNG of a picture that differs in one corner pixel from every other number's.

    An engine that keeps features by content cannot have seen it, and it costs the same to judge.
    """
    picture = base.copy()
    picture.putpixel((0, 0), (number & 255, number >> 8 & 255, number >> 16 & 255))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def fill(wording: str, values: Mapping[str, str]) -> str:
    """A wording with its values; lines that ask for anything else are left out."""
    lines = []
    for line in wording.split("\n"):
        for name, value in values.items():
            line = line.replace(f"{{{name}}}", value)  # noqa: PLW2901
        if "{" not in line:
            lines.append(line)
    return "\n".join(lines)
