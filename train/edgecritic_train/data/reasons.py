"""Reasons: one short sentence, filled from the facts that made the image.

The sentences are few and regular on purpose: a language model of 135M parameters has to learn
to write them from the picture.
"""

from __future__ import annotations

import numpy as np

from edgecritic_train.data.dice import pick
from edgecritic_train.data.items import RIGHT_FROM, WRONG_TO, Response, Winner

PLAINLY_RIGHT = "is right"
"""The remark on a response that leaves nothing to wish for."""

_RIGHT = ("{Fact}, as the response says.", "Right: {fact}.", "The response is right: {fact}.")
_RIGHT_BUT = ("{Fact}; the response {remark}.", "The response {remark}: {fact}.")
_WRONG = ("{Fact}, but the response {remark}.", "The response {remark}, but {fact}.")


def capitalised(text: str) -> str:
    """The text with its first letter in upper case, the rest untouched."""
    return text[:1].upper() + text[1:]


def pointwise_reason(rng: np.random.Generator, fact: str, remark: str, score: int) -> str:
    """Why a response got its score.

    Args:
        rng: picks the wording.
        fact: the truth as a clause ("the digit is 7").
        remark: predicate about the response ("says 3").
        score: gold score 1..10.
    """
    wordings: tuple[str, ...] = _RIGHT_BUT if score >= RIGHT_FROM else _WRONG
    if remark == PLAINLY_RIGHT:
        wordings = _RIGHT
    return pick(rng, wordings).format(fact=fact, Fact=capitalised(fact), remark=remark)


def pairwise_reason(fact: str, couple: tuple[Response, Response], side: int, winner: Winner) -> str:
    """Why one of two responses is better on an image, or neither is."""
    first, second = couple
    if winner != "tie":
        remarks = first.remarks[side], second.remarks[side]
        return f"{capitalised(fact)}: the first response {remarks[0]}, the second {remarks[1]}."
    score = first.scores[side]
    if score >= RIGHT_FROM:
        return f"Both responses are right: {fact}."
    if score > WRONG_TO:
        return f"Both responses are only partly right: {fact}."
    return f"Both responses are wrong: {fact}."
