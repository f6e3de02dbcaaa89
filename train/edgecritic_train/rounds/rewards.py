"""From verdicts on all ordered pairs to a reward for each answer, and what else they tell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgecritic.verdict import Winner
from edgecritic_train.rounds.config import Reward
from edgecritic_train.rounds.entries import Match, Ranked

_POINTS: dict[Winner, float] = {"first": 1.0, "second": -1.0, "tie": 0.0}


def rewards(ranked: Ranked, kind: Reward) -> tuple[float, ...]:
    """Wins minus losses of each different answer over the K(K-1) ordered pairs of all samples.

    A sample that says the same as another one ties with it, so equal ones were judged once and
    are counted as often as they occurred.

    Returns:
        One number for each of `ranked.responses`, in [-2(K-1), 2(K-1)].

    Source: LLaVA-Critic, arXiv:2410.02712, r_i = sum_k a_ki - sum_l a_il.
    """
    terms: list[list[float]] = [[] for _ in ranked.responses]
    for match in ranked.matches:
        lead = match.leads if kind == "probabilities" else [_POINTS[v] for v in match.verdicts]
        won = math.fsum(lead)
        terms[match.i].append(ranked.counts[match.j] * won)
        terms[match.j].append(-ranked.counts[match.i] * won)
    return tuple(map(math.fsum, terms))


def beaten(n: int, matches: Sequence[Match]) -> tuple[frozenset[int], ...]:
    """For each of `n` answers those that it beats, itself or by way of others."""
    direct: list[set[int]] = [set() for _ in range(n)]
    for match in matches:
        if match.winner == "first":
            direct[match.i].add(match.j)
        elif match.winner == "second":
            direct[match.j].add(match.i)
    return tuple(_reached(start, direct) for start in range(n))


def _reached(start: int, direct: Sequence[set[int]]) -> frozenset[int]:
    found: set[int] = set()
    waiting = list(direct[start])
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += direct[one]
    return frozenset(found)


def has_cycle(ranked: Ranked) -> bool:
    """Whether an answer beats itself by way of others."""
    return any(k in won for k, won in enumerate(beaten(len(ranked.responses), ranked.matches)))


def flips(matches: Sequence[Match]) -> int:
    """Pairs whose verdict changes with the order in which they are shown."""
    return sum(match.verdicts[0] != match.verdicts[1] for match in matches)
