"""Both orders of a pair to one preference, with its consistency.

A judge that is shown (a, b) and (b, a) gives two distributions over first, second and tie. Told
in the same labels, their geometric mean is the preference: an additive bias of the log-odds
towards a position cancels out exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecritic.verdict import Winner

OUTCOMES: tuple[Winner, Winner, Winner] = ("first", "second", "tie")


def relabelled(log_probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) log-probs of the swapped order, told in the unswapped labels."""
    return log_probs[[1, 0, 2]]


def reconcile(orders: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The normalised geometric mean of (3,) log-probs told in the same labels.

    All -inf where the orders rule out each other's outcomes.
    """
    mean = np.mean(np.stack(orders), axis=0)
    top = mean.max()
    if not np.isfinite(top):
        return np.full(mean.shape, -np.inf)
    return np.asarray(mean - top - np.log(np.exp(mean - top).sum()), dtype=np.float64)


def winner(log_probs: NDArray[np.float64], tie_margin: float) -> Winner:
    """The preferred outcome.

    Args:
        log_probs: (3,) of first, second, tie.
        tie_margin: nats >= 0: a lead of `first` over `second` below it is a tie, and so is none.
    """
    first, second, tie = (float(value) for value in log_probs)
    if tie >= max(first, second) or first == second or abs(first - second) < tie_margin:
        return "tie"
    return "first" if first > second else "second"
