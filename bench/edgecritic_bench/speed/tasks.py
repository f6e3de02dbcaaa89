"""What the bench asks of all engines: questions, responses, ever new pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import permutations
from typing import Final, Literal, TypeAlias

from PIL import Image, ImageDraw

Task: TypeAlias = Literal["verdict", "again", "scores", "pairs", "unrelated"]
Size: TypeAlias = tuple[int, int]

TASKS: Final[tuple[Task, ...]] = ("verdict", "again", "scores", "pairs", "unrelated")
QUESTION: Final = "Which shapes does the image show?"
RESPONSES: Final = (
    "A red circle and a blue square.",
    "Two green triangles.",
    "The image shows a red circle on the left and a blue square on the right of it.",
    "A yellow star.",
    "I cannot tell.",
)
PAIRS: Final = tuple(permutations(RESPONSES, 2))
"""All ordered pairs."""
_QUESTIONS: Final = (
    QUESTION,
    "What is on the left?",
    "How many shapes are there?",
    "Which colour has the square?",
    "Describe the image in one sentence.",
)
_SIDE: Final = 256


@dataclass(frozen=True, slots=True)
class Asked:
    """One verdict among unrelated ones."""

    picture: bytes
    question: str
    response: str


def default_picture(size: Size = (_SIDE, _SIDE)) -> Image.Image:
    """A red circle beside a blue square, (width, height) pixels."""
    picture = Image.new("RGB", (_SIDE, _SIDE), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((20, 70, 116, 166), fill="red")
    draw.rectangle((140, 70, 236, 166), fill="blue")
    return picture.resize(size)


def new_picture(base: Image.Image, number: int) -> bytes:
    """PNG of a picture that differs in one corner pixel from every other number's.

    An engine that keeps features by content cannot have seen it, and it costs the same to judge.
    """
    picture = base.copy()
    picture.putpixel((0, 0), (number & 255, number >> 8 & 255, number >> 16 & 255))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def unrelated(base: Image.Image, number: int, count: int) -> list[Asked]:
    """Verdicts that share no picture.

    Args:
        base: of the pictures.
        number: of the repetition; no two of them share a picture either.
        count: how many.
    """
    return [
        Asked(
            new_picture(base, (1 << 23) + number * count + n),
            _QUESTIONS[n % len(_QUESTIONS)],
            RESPONSES[n // len(_QUESTIONS) % len(RESPONSES)],
        )
        for n in range(count)
    ]
