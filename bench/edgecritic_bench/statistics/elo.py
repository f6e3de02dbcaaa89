"""Elo ratings from battles: the Bradley-Terry model fitted to all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from edgecritic import InputError
from edgecritic_bench.tables import Floats

Outcome: TypeAlias = Literal["model_a", "model_b", "tie"]

SCALE = 400.0
BASE = 10.0
ANCHOR = 1000.0
_NEWTON_STEPS = 100
_SETTLED = 1e-10


@dataclass(frozen=True, slots=True)
class Battle:
    """One comparison of two models' responses.

    Attributes:
        model_a: shown first.
        model_b: shown second.
        winner: who won.
        weight: how many battles it counts for.
    """

    model_a: str
    model_b: str
    winner: Outcome
    weight: float = 1.0


def ratings(battles: Sequence[Battle], anchor: str | None = None) -> dict[str, float]:
    """Ratings of greatest likelihood, a tie counting half a win each.

    Args:
        battles: of two models or more, all linked by battles.
        anchor: the model that is rated 1000; without one, the mean is.

    Returns:
        Model to rating, the best first; 400 points are odds of ten to one.

    Raises:
        InputError: no battles, or a group of models that never loses to, or never beats, the
            rest: its rating has no finite best value.

    Source: R. A. Bradley and M. E. Terry, Biometrika 39 (1952); the fit that WildVision-Bench and
        Chatbot Arena publish.
    """
    if not battles:
        raise InputError("there are no battles to rate models by", "judge some pairs first")
    names = sorted({name for battle in battles for name in (battle.model_a, battle.model_b)})
    wins = _wins(battles, names)
    _check_linked(wins, names)
    strengths = _fit(wins)
    points = strengths * SCALE / np.log(BASE)
    middle = points[names.index(anchor)] if anchor in names else points.mean()
    rated = {name: float(p - middle + ANCHOR) for name, p in zip(names, points, strict=True)}
    return dict(sorted(rated.items(), key=lambda entry: -entry[1]))


def win_probability(rating: float, against: float) -> float:
    """Chance of winning that two ratings mean."""
    return float(1 / (1 + BASE ** ((against - rating) / SCALE)))


def _wins(battles: Sequence[Battle], names: Sequence[str]) -> Floats:
    """(models, models) how often the row's model beat the column's."""
    place = {name: index for index, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    for battle in battles:
        a, b = place[battle.model_a], place[battle.model_b]
        if a == b:
            continue
        share = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5}[battle.winner]
        wins[a, b] += battle.weight * share
        wins[b, a] += battle.weight * (1 - share)
    return wins


def _check_linked(wins: Floats, names: Sequence[str]) -> None:
    """Every model must reach every other along wins, or the likelihood has no maximum."""
    reach = (wins > 0) | np.eye(len(names), dtype=bool)
    for middle in range(len(names)):
        reach |= reach[:, middle, None] & reach[None, middle, :]
    if not reach.all():
        one, other = np.argwhere(~reach)[0]
        raise InputError(
            f"no chain of wins leads from {names[one]} to {names[other]}: ratings are infinite",
            "judge more battles, or leave such models out",
        )


def _fit(wins: Floats) -> Floats:
    """(models,) log-strengths with mean 0, by Newton's method with halved steps."""
    games = wins + wins.T
    strengths = np.zeros(len(wins))
    best = _log_likelihood(wins, strengths)
    for _ in range(_NEWTON_STEPS):
        chance = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
        gradient = (wins - games * chance).sum(axis=1)
        weight = games * chance * (1 - chance)
        hessian = np.diag(weight.sum(axis=1)) - weight
        # Shifting all strengths changes nothing; the ones fix their mean.
        step = np.linalg.solve(hessian + 1.0 / len(wins), gradient)
        size = 1.0
        while (value := _log_likelihood(wins, strengths + size * step)) < best and size > _SETTLED:
            size /= 2
        strengths, best = strengths + size * step, max(best, value)
        if float(np.abs(step).max()) < _SETTLED:
            break
    return np.asarray(strengths - strengths.mean(), dtype=np.float64)


def _log_likelihood(wins: Floats, strengths: Floats) -> float:
    return -float((wins * np.logaddexp(0, strengths[None, :] - strengths[:, None])).sum())
