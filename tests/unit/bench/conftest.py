"""Simulated judgements: what a critic of a given skill and position bias would record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from edgecritic_bench.records import (
    N_LEVELS,
    WINNERS,
    Condition,
    PairwiseRecord,
    Place,
    PointwiseRecord,
    Record,
)

# (gold on A, gold on B, family on A, family on B) of each response of an item.
RESPONSES = (
    (10, 3, "correct", "wrong_value"),
    (3, 10, "wrong_value", "correct"),
    (9, 3, "terse", "wrong_value"),
    (3, 9, "wrong_value", "terse"),
    (1, 1, "refusal", "refusal"),
)
DECIDED = ((0, 1), (3, 2), (2, 1))
TEXT = ((0, 4), (4, 1))
TIES = ((1, 3), (0, 0))


@dataclass(frozen=True)
class Skill:
    """How the simulated critic judges.

    signal: nats of evidence per gold level; noise: its standard deviation per item and text;
    position: nats added to whichever response is shown first; sharpness: what the log-odds are
    multiplied with after the outcome is settled (1 is calibrated).
    """

    signal: float = 0.6
    noise: float = 1.5
    position: float = 0.0
    sharpness: float = 1.0


def log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.logaddexp.reduce(scores)


def _orders(lead: float, tie: float, skill: Skill) -> tuple[tuple[float, ...], ...]:
    orders = []
    for shift in (skill.position, -skill.position):
        scores = np.array([(lead + shift) / 2, -(lead + shift) / 2, tie]) * skill.sharpness
        orders.append(tuple(log_softmax(scores).tolist()))
    return tuple(orders)


def _winner(first: int, second: int, side: int) -> str:
    gap = RESPONSES[first][side] - RESPONSES[second][side]
    return "tie" if gap == 0 else "first" if gap > 0 else "second"


def simulate_item(
    rng: np.random.Generator, name: str, kind: str, split: str, skill: Skill
) -> list[Record]:
    records: list[Record] = []
    conditions: tuple[Condition, ...] = ("right", "blank")
    for condition in conditions:
        text_noise = rng.normal(0, skill.noise / 2, len(RESPONSES))
        for side in (0, 1):
            place = Place(name, kind, split, side, condition)
            picture_noise = rng.normal(0, skill.noise, len(RESPONSES))
            # Without the picture only the refusal can be told apart.
            merit = np.array([r[side] if condition == "right" else min(r[:2]) for r in RESPONSES])
            belief = merit * skill.signal + (picture_noise if condition == "right" else text_noise)
            for index, response in enumerate(RESPONSES):
                levels = np.arange(1, N_LEVELS + 1)
                centre = belief[index] / skill.signal
                scores = -0.5 * ((levels - centre) * skill.signal) ** 2 * skill.sharpness
                records.append(
                    PointwiseRecord(
                        place,
                        index,
                        response[2 + side],
                        response[side],
                        tuple(log_softmax(scores).tolist()),
                        0.99,
                    )
                )
            for first, second in DECIDED + TEXT + TIES:
                winner = _winner(first, second, side)
                lead = belief[first] - belief[second]
                records.append(
                    PairwiseRecord(
                        place,
                        first,
                        second,
                        WINNERS[WINNERS.index(winner)],
                        (first, second) in DECIDED,
                        _orders(lead, 0.4 - abs(lead) / 4, skill),
                        (0.98, 0.97),
                    )
                )
    return records


Simulate = Callable[..., list[Record]]


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    def make(
        n_items: int = 40,
        *,
        split: str = "T0",
        seed: int = 0,
        skill: Skill = Skill(),
        kinds: tuple[str, ...] = ("digit", "object"),
    ) -> list[Record]:
        rng = np.random.default_rng([seed, 5])
        return [
            record
            for n in range(n_items)
            for record in simulate_item(
                rng, f"{split}-{n:06d}", kinds[n % len(kinds)], split, skill
            )
        ]

    return make


@pytest.fixture(scope="session")
def skill() -> type[Skill]:
    return Skill
