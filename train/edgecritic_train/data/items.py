"""What the engine makes: twin images, one question, graded responses.

A twin item has two images of the same kind with different truths. Every response is graded
on both, and for each response that is right on the first there is one of the same surface
form that is right on the second. A critic that does not look at the image can therefore not
tell which of two image-decided responses is better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from PIL.Image import Image

Winner = Literal["first", "second", "tie"]

RIGHT_FROM = 8
"""Lowest score of a right answer (terse or hedged ones included)."""
WRONG_TO = 4
"""Highest score of a wrong answer; 5..7 is partly right."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response, graded on both images of its item.

    Attributes:
        text: what a model is supposed to have answered; may be empty.
        family: the family on the image where the response does best.
        scores: gold score 1..10 on image A and on image B.
        reasons: one short sentence each that says why.
        families: the family on image A and on image B ("correct" and "wrong_value", say).
        remarks: predicate phrases on A and B ("is right", "says 3"), parts of pair reasons.
    """

    text: str
    family: str
    scores: tuple[int, int]
    reasons: tuple[str, str]
    families: tuple[str, str]
    remarks: tuple[str, str]


@dataclass(frozen=True, slots=True)
class TwinItem:
    """Two images, a question that has a different answer on each, and graded responses.

    Attributes:
        images: RGB, both sides 96..320 px.
        question: the same for both images.
        references: a right answer for image A and for image B.
        responses: 4..8, closed under the swap of A and B where the image decides.
        kind: question type, such as "digit".
        split: "train" or "T0".."T4".
        seed: names the item's own random stream.
        labels: facts for vision pretraining, such as {"digit": "7"}; several values are
            joined by "|".
        facts: the truth as a clause on A and on B ("the digit is 7").
    """

    images: tuple[Image, Image]
    question: str
    references: tuple[str, str]
    responses: tuple[Response, ...]
    kind: str
    split: str
    seed: int
    labels: tuple[Mapping[str, str], Mapping[str, str]]
    facts: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses shown with one image of an item, and which is better.

    Attributes:
        side: 0 for image A, 1 for image B.
        first: the response shown first.
        second: the response shown second.
        winner: "first", "second" or "tie".
        reason: one sentence that says why.
        image_decided: the other image of the item turns the preference round, so the texts
            alone cannot tell. Only these count for accuracy and the blank-image control.
    """

    side: int
    first: Response
    second: Response
    winner: Winner
    reason: str
    image_decided: bool
