"""Made-up critics of known noise and bias: where adaptive rankings stop being right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgecritic_bench.ranking.matrices import Judged

_SEED: Final = 20261126


@dataclass(frozen=True, slots=True)
class MadeUp:
    """Standard deviations, in nats of log-odds.

    Attributes:
        strength: of the responses.
        noise: of one judgement, in each order by itself.
        bias: towards the first place, the same for all.
        clash: of what two responses have with each other alone, which makes cycles.
    """

    name: str
    strength: float
    noise: float
    bias: float = 0.0
    clash: float = 0.0


CRITICS: Final = (
    MadeUp("decided", strength=4.0, noise=0.3),
    MadeUp("undecided", strength=1.5, noise=0.3),
    MadeUp("biased towards the first place", strength=2.0, noise=0.5, bias=2.0),
    MadeUp("noisy", strength=2.0, noise=1.5, bias=0.5),
    MadeUp("contradicting itself", strength=2.0, noise=0.3, clash=1.5),
    MadeUp("guessing", strength=0.0, noise=1.5),
)


def simulate(critic: MadeUp, k: int, count: int) -> Iterator[Judged]:
    """All ordered pairs of `count` questions with `k` responses each."""
    rng = np.random.default_rng([_SEED, CRITICS.index(critic)])
    for number in range(count):
        strength = rng.normal(0, critic.strength, k)
        half = np.triu(rng.normal(0, critic.clash, (k, k)), 1)
        odds = strength[:, None] - strength + critic.bias + half - half.T
        leads = np.tanh((odds + rng.normal(0, critic.noise, (k, k))) / 2)
        np.fill_diagonal(leads, 0.0)
        yield Judged(f"{critic.name}/{number}", critic.name, leads)
