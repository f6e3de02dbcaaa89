"""Ranking with fewer judgements: which ordered pairs to ask for, and what they say of the others.

A judgement of i shown first and j second is taken by the log-odds that i wins, a tie half for
each. They follow Bradley and Terry's model: strength of i minus strength of j, plus a bias towards
the first place, plus two things that the model does not know: a clash of exactly these two, which
both orders share (it makes cycles possible), and noise of this order alone. All of them are normal,
so what was judged tells mean and covariance of what was not, and draws from them tell how probable
it is that the ranking by all pairs would be another one.

Sources: Bradley and Terry 1952; the reward is that of LLaVA-Critic, arXiv:2410.02712.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pair: TypeAlias = tuple[int, int]
"""Indices of the response that is shown first, and of the other one."""
Floats: TypeAlias = NDArray[np.float64]

_DRAWS: Final = 512
_SEED: Final = 20261126
_SURE: Final = 0.97
"""A probability beyond this one and its opposite tells no more about strengths."""
_LIMIT: Final = float(2 * np.arctanh(2 * _SURE - 1))
_STEPS: Final = 8
_RIDGE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations of what log-odds are made of.

    Attributes:
        strength: of a response's strength.
        bias: of the bias towards the first place.
        clash: of what two responses have with each other alone.
        noise: of one order of presentation.
    """

    strength: float
    bias: float
    clash: float
    noise: float


SPREADS: Final = tuple(
    Spread(strength, bias, clash=0.7 * noise, noise=noise)
    for strength in (1.0, 3.0, 8.0)
    for noise in (0.1, 0.5, 2.0)
    for bias in (0.1, 1.0)
)
"""Critics and questions differ: each judged pair says how well each of these fits."""


@dataclass(frozen=True, slots=True)
class AdaptivePlan:
    """When to stop, and how many to ask for at once.

    Attributes:
        confidence: wanted probability, in [0, 1], that all pairs would give the same order.
        tie: rewards that differ by less are equal: their order does not count. A judgement
            that turns from a tie to a win moves a reward by one.
        per_round: judgements in each round behind the first; a third of the responses when None.
    """

    confidence: float = 0.95
    tie: float = 1.0
    per_round: int | None = None


class AdaptiveRanking:
    """Chooses ordered pairs to judge until the ranking by all of them is known well enough.

    The reward of a response is its wins minus its losses over all ordered pairs, as in the full
    ranking; what was judged counts as it was judged, the rest by what is expected. Equal responses
    are one, that counts several times.

    Args:
        responses: what is ranked, at least two.
        plan: see `AdaptivePlan`.

    Attributes:
        confidence: probability that all pairs would give this order, ties aside; 1 when all
            were judged.
    """

    def __init__(self, responses: Sequence[str], plan: AdaptivePlan | None = None) -> None:
        self._plan = plan or AdaptivePlan()
        first = {text: index for index, text in reversed(list(enumerate(responses)))}
        self._distinct = sorted(first.values())
        self._place = [self._distinct.index(first[text]) for text in responses]
        times = np.bincount(self._place)
        k = len(self._distinct)
        self._pairs = list(permutations(range(k), 2))
        self._index = {pair: n for n, pair in enumerate(self._pairs)}
        self._design = np.zeros((len(self._pairs), k))  # which strengths a judgement compares
        for n, (i, j) in enumerate(self._pairs):
            self._design[n, i], self._design[n, j] = 1.0, -1.0
        # What a judgement adds to each reward: a response that stands for several counts as many.
        self._worth = np.zeros_like(self._design)
        for n, (i, j) in enumerate(self._pairs):
            self._worth[n, i], self._worth[n, j] = times[j], -times[i]
        self._leads: dict[int, float] = {}
        self._rewards = np.zeros(k)
        self.confidence = 1.0 if k == 1 else 0.0

    @property
    def judged(self) -> int:
        """Judgements that were told."""
        return len(self._leads)

    @property
    def rewards(self) -> tuple[float, ...]:
        """One for each response; those of equal responses are equal."""
        return tuple(float(self._rewards[place]) for place in self._place)

    def ask(self) -> tuple[Pair, ...]:
        """The pairs to judge next, (shown first, shown second); empty when it is enough."""
        k = len(self._distinct)
        if k == 1 or self.judged == len(self._pairs):
            return ()
        if not self._leads:  # a round: everyone is shown first once, and second once
            return self._named([(i, (i + 1) % k) for i in range(k)])
        draws = self._draw()
        rewards = draws @ self._worth
        self._rewards = rewards.mean(axis=0)
        order = np.argsort(-self._rewards, kind="stable")
        # (draws, K, K): by how much the one that is placed lower leads in truth.
        ordered = rewards[:, order]
        upset = ordered[:, None, :] - ordered[:, :, None] > self._plan.tie
        upset &= np.triu(np.ones((k, k), dtype=bool), 1)
        self.confidence = float(1 - upset.any(axis=(1, 2)).mean())
        if self.confidence >= self._plan.confidence:
            return ()
        return self._named(self._most_telling(draws, upset.mean(axis=0), order))

    def tell(self, leads: Mapping[Pair, float]) -> None:
        """Take judgements.

        Args:
            leads: for pairs that were asked for P(first wins) - P(second wins), in [-1, 1].
        """
        for (first, second), lead in leads.items():
            self._leads[self._index[self._place[first], self._place[second]]] = float(lead)
        if self.judged == len(self._pairs):
            self.confidence = 1.0
            self._rewards = np.array([self._leads[n] for n in range(len(self._pairs))]) @ (
                self._worth
            )

    def _named(self, pairs: Sequence[Pair]) -> tuple[Pair, ...]:
        """Pairs of distinct responses by the caller's indices."""
        return tuple((self._distinct[i], self._distinct[j]) for i, j in pairs)

    def _draw(self) -> Floats:
        """(draws, pairs) leads as they may be; those that were judged as they are."""
        known = sorted(self._leads)
        leads = np.array([self._leads[n] for n in known])
        odds = 2 * np.arctanh(np.clip(leads, 1 - 2 * _SURE, 2 * _SURE - 1))
        fits = [self._fit(spread, known, odds) for spread in SPREADS]
        evidence = np.array([fit.evidence for fit in fits])
        shares = np.exp(evidence - evidence.max())
        counts = np.floor(shares / shares.sum() * _DRAWS).astype(int)
        counts[int(evidence.argmax())] += _DRAWS - counts.sum()
        noise = np.random.default_rng(_SEED).standard_normal((_DRAWS, len(self._pairs)))
        parts = np.split(noise, np.cumsum(counts)[:-1])
        drawn = [fit.draw(part) for fit, part in zip(fits, parts, strict=True)]
        draws = np.tanh(np.concatenate(drawn) / 2)
        draws[:, known] = leads
        return draws

    def _fit(self, spread: Spread, known: Sequence[int], odds: Floats) -> _Fit:
        """What is known of all pairs; judgements beyond `_LIMIT` are at least so sure."""
        told = spread.strength**2 * (self._design @ self._design.T) + spread.bias**2
        covariance = told.copy()
        for n, (i, j) in enumerate(self._pairs):
            covariance[n, n] += spread.clash**2 + spread.noise**2
            covariance[n, self._index[j, i]] -= spread.clash**2
        inner = covariance[np.ix_(known, known)]
        smoothed = told[np.ix_(known, known)] @ np.linalg.inv(inner)
        side = np.where(np.abs(odds) >= _LIMIT - _RIDGE, np.sign(odds), 0.0)
        for _ in range(_STEPS):
            beyond = np.maximum(side * (smoothed @ odds), _LIMIT)
            odds = np.where(side == 0, odds, side * beyond)
        return _conditioned(covariance, known, odds)

    def _most_telling(self, draws: Floats, upset: Floats, order: NDArray[np.intp]) -> list[Pair]:
        """The judgements that tell most about the places that are in doubt.

        Each is worth the share that it explains of the variance of two rewards' difference, for
        every two in doubt; what one explains, the next one does not explain again.
        """
        covariance = np.cov(draws, rowvar=False)
        higher, lower = np.nonzero(upset)
        doubt = upset[higher, lower]
        difference = (self._worth[:, order[higher]] - self._worth[:, order[lower]]).T
        chosen: list[Pair] = []
        taken = list(self._leads)
        wanted = self._plan.per_round or max(1, len(self._distinct) // 3)
        for _ in range(min(wanted, len(self._pairs) - len(taken))):
            variance = np.diag(covariance).copy()
            shared = difference @ covariance
            total = np.einsum("dn,dn->d", shared, difference)
            explained = shared**2 / np.maximum(total, _RIDGE)[:, None]
            worth = doubt @ explained / np.maximum(variance, _RIDGE)
            worth[taken] = -np.inf
            best = int(worth.argmax())
            taken.append(best)
            chosen.append(self._pairs[best])
            known = np.outer(covariance[best], covariance[best])
            covariance = covariance - known / max(variance[best], _RIDGE)
        return chosen


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Log-odds of all pairs, given some.

    Attributes:
        mean: (pairs,).
        covariance: (pairs, pairs).
        evidence: log-probability density of what was judged.
    """

    mean: Floats
    covariance: Floats
    evidence: float

    def draw(self, noise: Floats) -> Floats:
        """(n, pairs) log-odds out of as many standard normal numbers."""
        if not len(noise):
            return noise
        ridge = _RIDGE * max(1.0, float(np.trace(self.covariance)))
        root = np.linalg.cholesky(self.covariance + ridge * np.eye(len(self.mean)))
        return np.asarray(self.mean + noise @ root.T)


def _conditioned(covariance: Floats, known: Sequence[int], odds: Floats) -> _Fit:
    inner = covariance[np.ix_(known, known)]
    across = covariance[:, known]
    gain = np.linalg.solve(inner, across.T).T
    evidence = -0.5 * (odds @ np.linalg.solve(inner, odds) + np.linalg.slogdet(inner)[1])
    return _Fit(gain @ odds, covariance - gain @ across.T, float(evidence))
