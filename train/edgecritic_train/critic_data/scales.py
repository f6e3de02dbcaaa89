"""Scores as people and models give them, put on whole levels."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from edgecritic.errors import InputError, shown
from edgecritic.task import MAX_LEVELS, Rubric

_FINER = (1, 2, 10, 100)


def as_number(score: str | float) -> Fraction:
    """The value of a score, whose fraction may stand behind a point or a comma.

    Raises:
        InputError: it is no number; shares such as ``8/10`` are none, since 0.8 is not meant.
    """
    text = re.sub(r"^(\d+),(\d{1,2})$", r"\1.\2", str(score).strip())  # 1,000 stays no number
    try:
        return Fraction(str(float(text)))
    except ValueError:
        raise InputError(f"the score {shown(score)} is no number", "write digits") from None


def on_levels(score: str | float, rubric: Rubric) -> tuple[int, Rubric]:
    """A score that may be a fraction, and the rubric on which it is a whole level.

    ``7.5`` on 1-10 becomes 15 on 2-20: the scale is made finer, and no score is rounded.

    Args:
        score: a number, or the decimal digits of one.
        rubric: the range that it was given on.

    Raises:
        InputError: it is no number, lies outside the range, or is finer than 1001 levels.
    """
    value = as_number(score)
    if not rubric.low <= value <= rubric.high:
        raise InputError(
            f"the score {shown(score)} is outside the range {rubric.low}-{rubric.high}",
            "correct the score, or state the range that it was given on",
        )
    for factor in _FINER:
        low, high = rubric.low * factor, rubric.high * factor
        if (value * factor).denominator == 1 and high - low + 1 <= MAX_LEVELS:
            levels = {level * factor: text for level, text in rubric.levels.items()}
            return int(value * factor), replace(rubric, low=low, high=high, levels=levels)
    raise InputError(
        f"the score {shown(score)} does not fall on a level of {rubric.low}-{rubric.high}",
        "round the scores, to tenths at most",
    )
