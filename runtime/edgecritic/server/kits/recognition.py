"""Which kit has asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgecritic.server.kits import pairs, rubrics, scores
from edgecritic.server.kits.base import Asked, Recognised, Written

__all__ = ["Asked", "Recognised", "Written", "recognise"]

# Kits whose format is JSON; the others are not asked for where the answer has to be an object.
_JSON: Final[tuple[Callable[[Asked], Recognised | None], ...]] = (
    rubrics.g_eval,
    rubrics.llm_rubric,
)
_TEXT: Final[tuple[Callable[[Asked], Recognised | None], ...]] = (
    pairs.five_way,
    pairs.two_way,
    pairs.numbered,
    pairs.stated_answer,
    scores.two_scores,
    scores.correctness,
    scores.right_or_wrong,
    scores.solution,
)


def recognise(asked: Asked) -> Recognised | None:
    """The kit's prompt, if it is one."""
    for kit in _JSON if asked.json else (*_JSON, *_TEXT):
        if found := kit(asked):
            return found
    return None
