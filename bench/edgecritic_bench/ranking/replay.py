"""Adaptive rankings over pairs that were all judged, beside the rankings by all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgecritic import AdaptivePlan, AdaptiveRanking
from edgecritic_bench.ranking.matrices import Judged
from edgecritic_bench.statistics.intervals import wilson


@dataclass(frozen=True, slots=True)
class Replayed:
    """One ranking.

    Attributes:
        judgements: that were asked for.
        rounds: in which they were.
        confidence: that the ranking gave itself.
        agrees: the order is that of all pairs, but for rewards that differ by less than a tie.
        same_order: it is that order without exception.
        same_best: the first response is that of all pairs, or tied with it.
        turned: pairs of responses, of those that are no ties, that stand the other way round.
        pairs: pairs of responses that are no ties.
    """

    judgements: int
    rounds: int
    confidence: float
    agrees: bool
    same_order: bool
    same_best: bool
    turned: int
    pairs: int


def replay(judged: Judged, plan: AdaptivePlan) -> Replayed:
    """Rank adaptively; every pair that is asked for has been judged."""
    k = len(judged.leads)
    search = AdaptiveRanking([str(index) for index in range(k)], plan)
    rounds = 0
    while pairs := search.ask():
        search.tell({pair: float(judged.leads[pair]) for pair in pairs})
        rounds += 1
    full, found = judged.rewards, np.array(search.rewards)
    apart = full[:, None] - full > plan.tie
    turned = int((apart & (found[:, None] < found)).sum())
    order = np.argsort(-found, kind="stable")
    return Replayed(
        judgements=search.judged,
        rounds=rounds,
        confidence=search.confidence,
        agrees=turned == 0,
        same_order=bool((np.diff(full[order]) <= 0).all()),
        same_best=bool(full.max() - full[order[0]] <= plan.tie),
        turned=turned,
        pairs=int(apart.sum()),
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """Of many rankings: means, and the share that agrees with its 95% interval."""

    n: int
    judgements: float
    rounds: float
    confidence: float
    agree: float
    agree_interval: tuple[float, float]
    same_order: float
    same_best: float
    turned: float

    @classmethod
    def of(cls, replayed: Sequence[Replayed]) -> Summary:
        """Summarise."""
        n = len(replayed)
        return cls(
            n=n,
            judgements=float(np.mean([r.judgements for r in replayed])),
            rounds=float(np.mean([r.rounds for r in replayed])),
            confidence=float(np.mean([r.confidence for r in replayed])),
            agree=float(np.mean([r.agrees for r in replayed])),
            agree_interval=wilson(sum(r.agrees for r in replayed), n),
            same_order=float(np.mean([r.same_order for r in replayed])),
            same_best=float(np.mean([r.same_best for r in replayed])),
            turned=sum(r.turned for r in replayed) / max(1, sum(r.pairs for r in replayed)),
        )
