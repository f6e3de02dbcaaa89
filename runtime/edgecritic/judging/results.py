"""From the outcomes' log-probabilities to judgements; numbers only, no engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.debias import OUTCOMES, reconcile, relabelled, winner
from edgecritic.judging.cycles import cycles
from edgecritic.manifest import Calibration
from edgecritic.scoring import expected_level, normalise
from edgecritic.verdict import OrderVerdict, Preference, Ranking, Verdict

Shown: TypeAlias = Literal["first", "second"]
"""Which of the caller's responses stands first in the prompt."""

LogProbs: TypeAlias = NDArray[np.float64]

# Digits: rewards of float32 logits that differ by less than 1e-9 differ by rounding alone.
_REWARD_DIGITS = 9


def pointwise_verdict(joint: LogProbs, levels: Sequence[int], calibration: Calibration) -> Verdict:
    """The verdict that the levels' log-probabilities make.

    Args:
        joint: (n_levels,) joint log-probabilities, not normalised.
        levels: the rubric's, ascending.
        calibration: the bundle's.
    """
    found = normalise(joint, calibration.pointwise_temperature)
    if not found.readable:
        return Verdict("unparsed", None, None, {}, None, found.mass)
    probabilities = [float(p) for p in found.probs]
    best = int(found.log_probs.argmax())
    # Rounding may put the mean of a sure verdict beside the range's end by one unit in the last.
    score = min(max(expected_level(found, levels), levels[0]), levels[-1])
    return Verdict(
        status="ok",
        score=score,
        level=levels[best],
        probabilities=dict(zip(levels, probabilities, strict=True)),
        confidence=probabilities[best],
        mass=found.mass,
    )


def preference(joints: Mapping[Shown, LogProbs], calibration: Calibration) -> Preference:
    """The preference that one or both orders make.

    Args:
        joints: by order of presentation the (3,) joint log-probabilities of first, second, tie,
            in the labels of the prompt.
        calibration: the bundle's.

    Returns:
        Unparsed if any order cannot be read; its `orders` are then those that can.
    """
    told: list[LogProbs] = []
    orders: list[OrderVerdict] = []
    for shown, joint in joints.items():
        found = normalise(joint, calibration.pairwise_temperature)
        if found.readable:
            log_probs = relabelled(found.log_probs) if shown == "second" else found.log_probs
            told.append(log_probs)
            orders.append(
                OrderVerdict(shown, winner(log_probs, 0.0), _probabilities(log_probs), found.mass)
            )
    if len(told) < len(joints):
        return Preference("unparsed", None, {}, None, None, tuple(orders))
    reconciled = reconcile(told)
    if not np.isfinite(reconciled).any():  # what one order rules out the other one insists on
        return Preference("unparsed", None, {}, None, False, tuple(orders))
    probabilities = _probabilities(reconciled)
    best = winner(reconciled, calibration.tie_margin)
    return Preference(
        status="ok",
        winner=best,
        probabilities=probabilities,
        confidence=probabilities[best],
        consistent=len({order.winner for order in orders}) == 1 if len(orders) > 1 else None,
        orders=tuple(orders),
    )


def _probabilities(log_probs: LogProbs) -> dict[Literal["first", "second", "tie"], float]:
    return {outcome: float(p) for outcome, p in zip(OUTCOMES, np.exp(log_probs), strict=True)}


def pairwise_ranking(n: int, preferences: Sequence[tuple[int, int, Preference]]) -> Ranking:
    """Rewards from all ordered pairs of `n` responses.

    With a_ij = P(second wins) - P(first wins) where i was shown first and j second, response i
    gets sum_k a_ki - sum_l a_il: its wins minus its losses over all ordered pairs.

    Source: LLaVA-Critic, arXiv:2410.02712, the reward of its preference learning,
    with soft judgements.
    """
    judgements = 2 * len(preferences)
    if any(preference.status != "ok" for _, _, preference in preferences):
        return Ranking("unparsed", (), (None,) * n, tuple(preferences), judgements=judgements)
    terms: list[list[float]] = [[] for _ in range(n)]
    for i, j, preference in preferences:
        for order in preference.orders:
            lead = order.probabilities["first"] - order.probabilities["second"]
            terms[i].append(lead)
            terms[j].append(-lead)
    # fsum does not depend on the order of its terms, so equal responses get equal rewards.
    rewards = tuple(math.fsum(leads) for leads in terms)
    return Ranking(
        "ok",
        best_first(rewards),
        rewards,
        tuple(preferences),
        judgements=judgements,
        cycles=cycles(n, preferences),
    )


def pointwise_ranking(verdicts: Sequence[Verdict]) -> Ranking:
    """The responses by their scores."""
    rewards = tuple(verdict.score for verdict in verdicts)
    scores = [score for score in rewards if score is not None]
    if len(scores) < len(rewards):
        return Ranking("unparsed", (), rewards, verdicts=tuple(verdicts), judgements=len(verdicts))
    return Ranking(
        "ok", best_first(scores), rewards, verdicts=tuple(verdicts), judgements=len(verdicts)
    )


def best_first(rewards: Sequence[float]) -> tuple[int, ...]:
    """Indices, best first; equal rewards keep their given order."""
    return tuple(sorted(range(len(rewards)), key=lambda i: -round(rewards[i], _REWARD_DIGITS)))
