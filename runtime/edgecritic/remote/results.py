"""From readings to judgements, as honest as what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgecritic.debias import OUTCOMES, relabelled, winner
from edgecritic.judging.results import LogProbs, Shown, pointwise_verdict, preference, voted
from edgecritic.manifest import Calibration
from edgecritic.remote.verdicts import Reading
from edgecritic.scoring import MIN_MASS
from edgecritic.verdict import OrderVerdict, Preference, Verdict, Winner


def remote_verdict(reading: Reading, levels: Sequence[int], calibration: Calibration) -> Verdict:
    """The verdict of one reading; without log-probabilities it has no confidence."""
    verdict = pointwise_verdict(reading.joint, levels, calibration)
    if reading.basis == "text":
        # What was fitted on probabilities says nothing of a statement without any.
        return replace(verdict, basis="text", confidence=None, interval=None)
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
    orders = []
    for shown, reading in readings.items():
        if reading.mass >= MIN_MASS:
            vote = np.eye(len(OUTCOMES))[int(reading.joint.argmax())]
            vote = relabelled(vote) if shown == "second" else vote
            said: dict[Winner, float] = dict(zip(OUTCOMES, map(float, vote), strict=True))
            orders.append(OrderVerdict(shown, winner(vote, 0.0), said, 1.0))
    if len(orders) < len(readings):
        return Preference("unparsed", None, {}, None, None, tuple(orders), basis="text")
    return voted(orders)
