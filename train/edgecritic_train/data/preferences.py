"""Preference pairs of a twin item, balanced against position, length and the texts.

Image-decided pairs come with both images, in one order, so the first response wins as often as
the second and the longer as often as the shorter. Text-decided pairs are chosen by a coin over
which length should win.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from edgecritic_train.data.dice import chance, generator, pick, shuffled
from edgecritic_train.data.items import Pair, Response, TwinItem, Winner
from edgecritic_train.data.reasons import pairwise_reason

WINNING_GAP = 2
"""Least difference of gold scores that makes a preference; equal scores are a tie."""
_MAX_DECIDED = 4
_TEXT_SHARE = 0.7
"""Chance of a text-decided row for each image."""
_TIE_SHARE = 0.55
"""Chance of a tie row for each image: about a tenth of all rows at four decided pairs."""

_Couple = tuple[Response, Response]


def preferences(item: TwinItem) -> Iterator[Pair]:
    """Pairs of the item's responses on both images, in a random order fixed by its seed."""
    rng = generator("preferences", item.seed)
    couples = shuffled(rng, list(combinations(item.responses, 2)))
    couples = [(b, a) if chance(rng, 0.5) else (a, b) for a, b in couples]
    decided = [couple for couple in couples if _image_decided(couple)]
    undecided = [couple for couple in couples if not _image_decided(couple)]
    rows = [
        _row(item, couple, side, winner)
        for couple in decided[:_MAX_DECIDED]
        for side in (0, 1)
        if (winner := winner_on(couple, side))
    ]
    for side in (0, 1):
        if chance(rng, _TEXT_SHARE):
            rows.extend(_text_decided(rng, item, undecided, side))
        ties = [couple for couple in undecided if winner_on(couple, side) == "tie"]
        if ties and chance(rng, _TIE_SHARE):
            rows.append(_row(item, pick(rng, ties), side, "tie"))
    yield from shuffled(rng, rows)


def winner_on(couple: _Couple, side: int) -> Winner | None:
    """Who wins on an image; None where the gap is too small to call."""
    gap = couple[0].scores[side] - couple[1].scores[side]
    if gap == 0:
        return "tie"
    if abs(gap) < WINNING_GAP:
        return None
    return "first" if gap > 0 else "second"


def _image_decided(couple: _Couple) -> bool:
    return {winner_on(couple, 0), winner_on(couple, 1)} == {"first", "second"}


def _text_decided(
    rng: np.random.Generator, item: TwinItem, couples: list[_Couple], side: int
) -> Iterator[Pair]:
    """At most one row, with the longer response winning in half of the calls."""
    longer_wins = chance(rng, 0.5)
    for couple in couples:
        winner = winner_on(couple, side)
        if winner is None or winner == "tie":
            continue
        best, other = couple if winner == "first" else couple[::-1]
        if (len(best.text) > len(other.text)) == longer_wins:
            yield _row(item, couple, side, winner)
            return


def _row(item: TwinItem, couple: _Couple, side: int, winner: Winner) -> Pair:
    first, second = couple
    reason = pairwise_reason(item.facts[side], couple, side, winner)
    return Pair(side, first, second, winner, reason, _image_decided(couple))
