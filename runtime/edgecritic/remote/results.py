"""From readings to judgements, as honest as what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgecritic.debias import OUTCOMES, relabelled, winner
from edgecritic.judging.results import LogProbs, Shown, pointwise_verdict, preference
from edgecritic.manifest import Calibration
from edgecritic.remote.verdicts import Reading
from edgecritic.scoring import MIN_MASS
from edgecritic.verdict import OrderVerdict, Preference, Verdict, Winner


def remote_verdict(reading: Reading, levels: Sequence[int], calibration: Calibration) -> Verdict:
    """The verdict of one reading; without log-probabilities it has no confidence."""
    verdict = pointwise_verdict(reading.joint, levels, calibration)
    if reading.basis == "text":
        return replace(verdict, basis="text", confidence=None)
    return replace(verdict, basis=reading.basis)


def remote_preference(readings: Mapping[Shown, Reading], calibration: Calibration) -> Preference:
    """The preference that one or both orders make.

    Where an order has log-probabilities, an outcome that was not listed gets the most that the
    list leaves room for. Both orders are averaged in log-space, and a zero there would let one
    order alone rule the outcome out, however sure of it the other one is.

    Args:
        readings: by order of presentation, in the labels of the prompt.
        calibration: of the probabilities.
    """
    if any(reading.basis == "text" for reading in readings.values()):
        return _voted(readings)
    joints: dict[Shown, LogProbs] = {
        shown: _bounded(reading) for shown, reading in readings.items()
    }
    return replace(preference(joints, calibration), basis="top_logprobs")


def _bounded(reading: Reading) -> LogProbs:
    if reading.mass < MIN_MASS:  # what was not listed does not make it readable
        return reading.joint
    return np.where(np.isneginf(reading.joint), reading.ceiling, reading.joint)


def _voted(readings: Mapping[Shown, Reading]) -> Preference:
    """The preference of statements without probabilities: each order has one vote.

    Orders that contradict each other make a tie: a model that names the same place twice prefers
    the place.

    Source: the conservative rule of Zheng et al., arXiv:2306.05685, section 3.4.
    """
    orders = []
    for shown, reading in readings.items():
        if reading.mass >= MIN_MASS:
            vote = np.eye(len(OUTCOMES))[int(reading.joint.argmax())]
            vote = relabelled(vote) if shown == "second" else vote
            orders.append(OrderVerdict(shown, _winner(vote), _by_outcome(vote), 1.0))
    if len(orders) < len(readings):
        return Preference("unparsed", None, {}, None, None, tuple(orders), basis="text")
    votes = np.mean([[order.probabilities[o] for o in OUTCOMES] for order in orders], axis=0)
    return Preference(
        status="ok",
        winner=_winner(votes),
        probabilities=_by_outcome(votes),
        confidence=None,
        consistent=len({order.winner for order in orders}) == 1 if len(orders) > 1 else None,
        orders=tuple(orders),
        basis="text",
    )


def _winner(votes: LogProbs) -> Winner:
    return winner(votes, 0.0)


def _by_outcome(votes: LogProbs) -> dict[Winner, float]:
    return {outcome: float(vote) for outcome, vote in zip(OUTCOMES, votes, strict=True)}
