"""Orders of several responses: edit distance to the gold order, as batch ranking is scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecritic import InputError
from edgecritic_bench.statistics.intervals import Estimate, mean
from edgecritic_bench.tables import Ints


def levenshtein(one: Sequence[object], other: Sequence[object]) -> int:
    """Fewest insertions, deletions and substitutions that turn one sequence into the other."""
    above = list(range(len(other) + 1))
    for row, left in enumerate(one, 1):
        line = [row]
        for column, right in enumerate(other, 1):
            replaced = above[column - 1] + (left != right)
            line.append(min(line[-1] + 1, above[column] + 1, replaced))
        above = line
    return above[-1]


def normalised_levenshtein(one: Sequence[object], other: Sequence[object]) -> float:
    """Levenshtein's distance divided by the longer length: 0 is equal, 1 all different."""
    longest = max(len(one), len(other))
    return levenshtein(one, other) / longest if longest else 0.0


def ranking_distance(
    orders: Sequence[Sequence[object]], golds: Sequence[Sequence[object]], clusters: Ints
) -> Estimate:
    """Mean normalised distance of orders to gold; lower is better.

    Args:
        orders: (n,) responses, best first.
        golds: (n,) likewise.
        clusters: (n,) item numbers.

    Raises:
        InputError: there are not as many orders as golds.

    Source: MLLM-as-a-Judge, arXiv:2402.04788, which publishes no scorer; the division by the
        longer length is ours. Both have the same length wherever an order names every response.
    """
    if len(orders) != len(golds):
        raise InputError(
            f"{len(orders)} orders stand against {len(golds)} of gold", "pair them first"
        )
    distances = [normalised_levenshtein(a, b) for a, b in zip(orders, golds, strict=True)]
    return mean(np.array(distances, dtype=np.float64), clusters)
