"""Rankings by judgements that are asked for in rounds, each chosen by what is known so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

from edgecritic.judging.adaptive import AdaptiveRanking, Pair
from edgecritic.judging.cycles import cycles
from edgecritic.judging.results import Shown, best_first
from edgecritic.verdict import Preference, Ranking

Read = TypeVar("Read")


def rank_in_rounds(
    responses: Sequence[str],
    read: Callable[[Sequence[Pair]], Sequence[Read]],
    prefer: Callable[[Mapping[Shown, Read]], Preference],
) -> Ranking:
    """Rank by as few ordered pairs as tell the order.

    Args:
        responses: at least two.
        read: judges pairs of (shown first, shown second); what it raises ends the ranking.
        prefer: what one or both orders of a pair say.

    Returns:
        Unparsed as soon as a judgement is.
    """
    search = AdaptiveRanking(responses)
    found: dict[Pair, Read] = {}
    while pairs := search.ask():
        found |= dict(zip(pairs, read(pairs), strict=True))
        judged = {pair: prefer({"first": found[pair]}) for pair in pairs}
        if any(preference.status != "ok" for preference in judged.values()):
            unknown = (None,) * len(responses)
            return Ranking(
                "unparsed", (), unknown, _preferences(found, prefer), judgements=len(found)
            )
        search.tell({pair: _lead(preference) for pair, preference in judged.items()})
    preferences = _preferences(found, prefer)
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
    found: Mapping[Pair, Read], prefer: Callable[[Mapping[Shown, Read]], Preference]
) -> tuple[tuple[int, int, Preference], ...]:
    """Of every two responses that were compared, by the orders that were judged."""
    told = []
    for i, j in combinations(sorted({index for pair in found for index in pair}), 2):
        orders: dict[Shown, Read] = {}
        if (i, j) in found:
            orders["first"] = found[i, j]
        if (j, i) in found:
            orders["second"] = found[j, i]
        if orders:
            told.append((i, j, prefer(orders)))
    return tuple(told)
