"""Rankings by judgements that are asked for in rounds, each chosen by what is known so far."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

from edgecritic.judging.adaptive import AdaptiveRanking, Pair
from edgecritic.judging.cycles import cycles
from edgecritic.judging.results import best_first, in_both_orders, missing, of_the_other
from edgecritic.manifest import Calibration
from edgecritic.verdict import Preference, Ranking

Asked = TypeVar("Asked")
Told = TypeVar("Told")


def rank_in_rounds(
    responses: Sequence[str],
    judge: Callable[[Sequence[Pair]], Generator[Asked, Told, Sequence[Preference]]],
    calibration: Calibration,
) -> Generator[Asked, Told, Ranking]:
    """Rank by as few ordered pairs as tell the order.

    Args:
        responses: at least two.
        judge: judges pairs of (shown first, shown second), each in this order alone, in steps of
            its own; what it raises ends the ranking.
        calibration: the bundle's.

    Returns:
        Without an order as soon as a judgement is missing.
    """
    search = AdaptiveRanking(responses)
    found: dict[Pair, Preference] = {}
    while pairs := search.ask():
        judged = dict(zip(pairs, (yield from judge(pairs)), strict=True))
        found |= judged
        if status := missing(preference.status for preference in judged.values()):
            unknown = (None,) * len(responses)
            told = _preferences(found, calibration)
            return Ranking(status, (), unknown, told, judgements=len(found))
        search.tell({pair: _lead(preference) for pair, preference in judged.items()})
    preferences = _preferences(found, calibration)
    return Ranking(
        "ok",
        best_first(search.rewards),
        search.rewards,
        preferences,
        judgements=len(found),
        confidence=search.confidence,
        cycles=cycles(len(responses), preferences),
    )


def _lead(preference: Preference) -> float:
    (order,) = preference.orders
    return order.probabilities["first"] - order.probabilities["second"]


def _preferences(
    found: Mapping[Pair, Preference], calibration: Calibration
) -> tuple[tuple[int, int, Preference], ...]:
    """Of every two responses that were compared, by the orders that were judged."""
    told = []
    for i, j in combinations(sorted({index for pair in found for index in pair}), 2):
        given, swapped = found.get((i, j)), found.get((j, i))
        if given is not None and swapped is not None:
            told.append((i, j, in_both_orders(given, swapped, calibration)))
        elif given is not None:
            told.append((i, j, given))
        elif swapped is not None:
            told.append((i, j, of_the_other(swapped)))
    return tuple(told)
