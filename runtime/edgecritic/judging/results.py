"""From the outcomes' log-probabilities to judgements; numbers only, no engine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.debias import OUTCOMES, reconcile, relabelled, winner
from edgecritic.judging.cycles import cycles
from edgecritic.manifest import Calibration
from edgecritic.scoring import expected_level, normalise
from edgecritic.verdict import (
    OrderVerdict,
    Preference,
    Ranking,
    Status,
    Timings,
    Usage,
    Verdict,
    Winner,
)

Shown: TypeAlias = Literal["first", "second"]
"""Which of the caller's responses stands first in the prompt."""

LogProbs: TypeAlias = NDArray[np.float64]

# Digits: rewards of float32 logits that differ by less than 1e-9 differ by rounding alone.
_REWARD_DIGITS = 9
_OTHER: Final[Mapping[Winner, Winner]] = {"first": "second", "second": "first", "tie": "tie"}


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
    fitted = calibration.scores
    if fitted is not None and not fitted.applies_to(levels):
        fitted = None
    if fitted is not None:
        found = replace(normalise(fitted.biased(found.log_probs)), mass=found.mass)
    probabilities = [float(p) for p in found.probs]
    best = int(found.log_probs.argmax())
    # Rounding may put the mean of a sure verdict beside the range's end by one unit in the last.
    score = min(max(expected_level(found, levels), levels[0]), levels[-1])
    interval = None
    if fitted is not None:
        score = fitted.mapped(score)
        interval = fitted.interval(score, found.probs)
    return Verdict(
        status="ok",
        score=score,
        level=levels[best],
        probabilities=dict(zip(levels, probabilities, strict=True)),
        confidence=probabilities[best],
        mass=found.mass,
        within_noise=_is_close(found.log_probs, calibration.noise),
        interval=interval,
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
    return _agreed(told, orders, calibration)


def _probabilities(log_probs: LogProbs) -> dict[Literal["first", "second", "tie"], float]:
    return {outcome: float(p) for outcome, p in zip(OUTCOMES, np.exp(log_probs), strict=True)}


def in_both_orders(given: Preference, swapped: Preference, calibration: Calibration) -> Preference:
    """One preference of two that were made in one order each.

    Args:
        given: of i over j, i shown first.
        swapped: of j over i, j shown first.
        calibration: the bundle's.

    Returns:
        Of i over j; not ``ok`` unless both are.
    """
    orders = (*given.orders, *(_told_by_the_other(order) for order in swapped.orders))
    if status := missing((given.status, swapped.status)):
        found = Preference(status, None, {}, None, None, orders)
    elif given.basis == "text":
        found = voted(orders)
    else:
        with np.errstate(divide="ignore"):
            told = [np.log([order.probabilities[o] for o in OUTCOMES]) for order in orders]
        found = _agreed(told, orders, calibration)
    return replace(
        found,
        usage=given.usage + swapped.usage,
        timings=given.timings + swapped.timings,
        critic=given.critic,
        template=given.template,
        basis=given.basis,
        detail=given.detail,
    )


def of_the_other(preference: Preference) -> Preference:
    """What was said of j over i, said of i over j."""
    turned = {_OTHER[outcome]: p for outcome, p in preference.probabilities.items()}
    return replace(
        preference,
        winner=None if preference.winner is None else _OTHER[preference.winner],
        probabilities={outcome: turned[outcome] for outcome in OUTCOMES if outcome in turned},
        orders=tuple(_told_by_the_other(order) for order in preference.orders),
    )


def _told_by_the_other(order: OrderVerdict) -> OrderVerdict:
    return OrderVerdict(
        "second" if order.shown_first == "first" else "first",
        _OTHER[order.winner],
        {outcome: order.probabilities[_OTHER[outcome]] for outcome in OUTCOMES},
        order.mass,
    )


def voted(orders: Sequence[OrderVerdict]) -> Preference:
    """The preference of statements without probabilities: each order has one vote.

    Orders that contradict each other make a tie: a model that names the same place twice prefers
    the place.

    Source: the conservative rule of Zheng et al., arXiv:2306.05685, section 3.4.
    """
    votes = np.mean([[order.probabilities[o] for o in OUTCOMES] for order in orders], axis=0)
    return Preference(
        status="ok",
        winner=winner(votes, 0.0),
        probabilities={outcome: float(vote) for outcome, vote in zip(OUTCOMES, votes, strict=True)},
        confidence=None,
        consistent=_consistent(orders),
        orders=tuple(orders),
        basis="text",
    )


def _agreed(
    told: Sequence[LogProbs], orders: Sequence[OrderVerdict], calibration: Calibration
) -> Preference:
    """The preference that log-probabilities in the same labels make."""
    reconciled = reconcile(told)
    if not np.isfinite(reconciled).any():  # what one order rules out the other one insists on
        return Preference("unparsed", None, {}, None, False, tuple(orders))
    probabilities = _probabilities(reconciled)
    best = winner(reconciled, max(calibration.tie_margin, calibration.noise))
    return Preference(
        status="ok",
        winner=best,
        probabilities=probabilities,
        confidence=probabilities[best],
        consistent=_consistent(orders),
        orders=tuple(orders),
        within_noise=_is_close(reconciled, calibration.noise),
    )


def _is_close(log_probs: LogProbs, noise: float) -> bool:
    """Whether the two most probable outcomes are less than `noise` nats apart."""
    second, first = np.sort(log_probs)[-2:]
    return bool(first - second < noise)


def _consistent(orders: Sequence[OrderVerdict]) -> bool | None:
    return len({order.winner for order in orders}) == 1 if len(orders) > 1 else None


def pairwise_ranking(n: int, preferences: Sequence[tuple[int, int, Preference]]) -> Ranking:
    """Rewards from all ordered pairs of `n` responses.

    With a_ij = P(second wins) - P(first wins) where i was shown first and j second, response i
    gets sum_k a_ki - sum_l a_il: its wins minus its losses over all ordered pairs.

    Source: LLaVA-Critic, arXiv:2410.02712, the reward of its preference learning,
    with soft judgements.
    """
    judgements = 2 * len(preferences)
    if status := missing(preference.status for _, _, preference in preferences):
        return Ranking(status, (), (None,) * n, tuple(preferences), judgements=judgements)
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
    if status := missing(verdict.status for verdict in verdicts):
        return Ranking(status, (), rewards, verdicts=tuple(verdicts), judgements=len(verdicts))
    return Ranking(
        "ok", best_first(scores), rewards, verdicts=tuple(verdicts), judgements=len(verdicts)
    )


def missing(statuses: Iterable[Status]) -> Status | None:
    """Why there is no ranking, if one of its judgements is missing."""
    found = set(statuses) - {"ok"}
    return "cancelled" if "cancelled" in found else "unparsed" if found else None


def best_first(rewards: Sequence[float]) -> tuple[int, ...]:
    """Indices, best first; equal rewards keep their given order."""
    return tuple(sorted(range(len(rewards)), key=lambda i: -round(rewards[i], _REWARD_DIGITS)))


def summed(ranking: Ranking, seconds: float) -> Ranking:
    """The ranking with what all its judgements cost; `seconds` is the time of all of it."""
    preferences = [preference for _, _, preference in ranking.preferences]
    judged: list[Verdict | Preference] = [*ranking.verdicts, *preferences]
    image = sum(one.timings.image for one in judged)
    return replace(
        ranking,
        usage=sum((one.usage for one in judged), Usage()),
        timings=Timings(image, seconds - image),
    )
