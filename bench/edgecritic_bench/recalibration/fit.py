"""What is fitted on labelled rows: temperatures, level biases, a monotone map, ties, intervals.

Fifty rows are few. So half of them fit, by items, and the other half say how wide intervals have to
be; biases are held near nothing; and a correction that does not help on folds that it was not
fitted on is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgecritic import InputError
from edgecritic.score_calibration import ScoreCalibration, spread
from edgecritic_bench.calibration import determined, fit_temperature, fit_tie_margin, log_loss
from edgecritic_bench.recalibration.monotone import isotonic_knots
from edgecritic_bench.tables import Bools, Floats, Ints, log_softmax

LEAST_ROWS = 50
"""Labelled rows of a setting below which nothing is fitted on it."""
_FOLDS = 5
_PRIOR = 2.0
"""How strongly biases are held to nothing: a normal prior of variance 1 / 2 nats squared."""
_NEWTON_STEPS = 30
_NEVER = 1e-9


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """Scores of one rubric with their gold.

    Attributes:
        low: lowest level.
        high: highest level.
        log_probs: (n, levels) at temperature 1.
        gold: (n,) in units of the rubric.
        item: (n,) numbers of items; rows of one item stay together.
    """

    low: int
    high: int
    log_probs: Floats
    gold: Floats
    item: Ints

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def levels(self) -> Floats:
        """(levels,) ascending."""
        return np.arange(self.low, self.high + 1, dtype=np.float64)

    @property
    def columns(self) -> Ints:
        """(n,) columns of the gold levels, fractions rounded."""
        nearest = np.floor(self.gold + 0.5).astype(np.int64) - self.low
        return np.clip(nearest, 0, self.high - self.low)

    def where(self, rows: Bools) -> LabelledScores:
        """The rows where a mask is True."""
        return replace(
            self, log_probs=self.log_probs[rows], gold=self.gold[rows], item=self.item[rows]
        )


@dataclass(frozen=True, slots=True)
class FittedScores:
    """What came of scores.

    Attributes:
        temperature: of the levels.
        calibration: the rest, as the bundle keeps it.
        kept: names of the corrections that helped on folds.
    """

    temperature: float
    calibration: ScoreCalibration
    kept: tuple[str, ...]


def fit_scores(
    rows: LabelledScores, coverage: float, seed: int = 0, before: float = 1.0
) -> FittedScores:
    """Fit everything that concerns scores.

    Args:
        rows: labelled, at least `LEAST_ROWS`.
        coverage: share of gold that intervals shall hold, in (0, 1).
        seed: of the halves and folds.
        before: temperature that is kept where another one does not help.

    Raises:
        InputError: too few rows, or too few for such a coverage.
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage is {coverage}, not between 0 and 1", "give for example 0.9")
    if len(rows) < LEAST_ROWS:
        raise InputError(
            f"{len(rows)} readable scores are too few to fit on", f"label at least {LEAST_ROWS}"
        )
    first = _half(rows.item, seed)
    fitting, held = rows.where(first), rows.where(~first)
    found = ScoreCalibration(rows.low, rows.high, coverage=coverage, rows=len(rows))
    temperature, kept = before, list[str]()
    if _temperature_helps(fitting, before, found, seed):
        temperature = fit_temperature(fitting.log_probs, fitting.columns)
        kept.append("temperature")
    steps: tuple[tuple[str, _Fit, _Loss], ...] = (
        ("level bias", _with_bias, _log_loss),
        ("monotone map", _with_map, _squares),
    )
    for name, fit, loss in steps:
        if _helps(fitting, temperature, found, (fit, loss), seed):
            found, kept = fit(fitting, temperature, found), [*kept, name]
    width = conformal_width(held, temperature, found, coverage)
    return FittedScores(temperature, replace(found, width=width), tuple(kept))


_Fit = Callable[[LabelledScores, float, ScoreCalibration], ScoreCalibration]
_Loss = Callable[[LabelledScores, float, ScoreCalibration], float]


def _half(items: Ints, seed: int) -> Bools:
    """(n,) whether a row's item is in the first half of all items."""
    names = np.unique(items)
    chosen = np.random.default_rng(seed).permutation(names)[: (len(names) + 1) // 2]
    return np.asarray(np.isin(items, chosen), dtype=bool)


def _helps(
    rows: LabelledScores,
    temperature: float,
    before: ScoreCalibration,
    step: tuple[_Fit, _Loss],
    seed: int,
) -> bool:
    """Whether a step lowers its loss on folds that it was not fitted on."""
    fit, loss = step
    gain = 0.0
    for out in _folds(rows.item, seed):
        fitted, held = fit(rows.where(~out), temperature, before), rows.where(out)
        gain += loss(held, temperature, before) - loss(held, temperature, fitted)
    return gain > _NEVER


def _temperature_helps(
    rows: LabelledScores, before: float, calibration: ScoreCalibration, seed: int
) -> bool:
    """Whether a fitted temperature makes levels likelier on folds, and scores no worse.

    Softer probabilities can be more honest and yet draw every score to the middle.
    """
    if not determined(fit_temperature(rows.log_probs, rows.columns)):
        return False
    likelier = closer = 0.0
    for out in _folds(rows.item, seed):
        inside, held = rows.where(~out), rows.where(out)
        fitted = fit_temperature(inside.log_probs, inside.columns)
        likelier += _log_loss(held, before, calibration) - _log_loss(held, fitted, calibration)
        closer += _squares(held, before, calibration) - _squares(held, fitted, calibration)
    return likelier > _NEVER and closer >= 0


def _folds(items: Ints, seed: int) -> Iterator[Bools]:
    """Rows to try on what the others fit, by items; none where all are of one item."""
    names = np.random.default_rng(seed + 1).permutation(np.unique(items))
    for names_out in np.array_split(names, min(_FOLDS, len(names))):
        out = np.asarray(np.isin(items, names_out), dtype=bool)
        if not out.all():
            yield out


def scored(
    rows: LabelledScores, temperature: float, calibration: ScoreCalibration | None
) -> tuple[Floats, Floats]:
    """Scores and probabilities of rows, as the runtime computes them.

    Returns:
        (n,) scores and (n, levels) probabilities.
    """
    log_probs = log_softmax(rows.log_probs, temperature)
    if calibration is not None:
        log_probs = log_softmax(np.stack([calibration.biased(row) for row in log_probs]))
    probabilities = np.exp(log_probs)
    scores = probabilities @ rows.levels
    if calibration is not None:
        scores = np.array([calibration.mapped(float(score)) for score in scores])
    return scores, probabilities


def _log_loss(rows: LabelledScores, temperature: float, calibration: ScoreCalibration) -> float:
    _, probabilities = scored(rows, temperature, calibration)
    likely = probabilities[np.arange(len(rows)), rows.columns]
    return -float(np.log(np.maximum(likely, np.finfo(np.float64).tiny)).sum())


def _squares(rows: LabelledScores, temperature: float, calibration: ScoreCalibration) -> float:
    scores, _ = scored(rows, temperature, calibration)
    return float(((scores - rows.gold) ** 2).sum())


def _with_bias(
    rows: LabelledScores, temperature: float, before: ScoreCalibration
) -> ScoreCalibration:
    return replace(before, level_bias=fit_bias(rows, temperature))


def fit_bias(rows: LabelledScores, temperature: float) -> tuple[float, ...]:
    """Nats to add to each level: greatest likelihood, held near nothing, by Newton's method.

    The loss is convex, and the prior makes it strictly so.
    """
    log_probs = log_softmax(rows.log_probs, temperature)
    gold = np.eye(log_probs.shape[1])[rows.columns]
    bias = np.zeros(log_probs.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = np.exp(log_softmax(log_probs + bias))
        slope = (p - gold).sum(axis=0) + _PRIOR * bias
        curve = np.diag(p.sum(axis=0) + _PRIOR) - p.T @ p
        step = np.linalg.solve(curve, slope)
        # Steps of several nats could leave the valley that the quadratic sees.
        bias = bias - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < _NEVER:
            break
    return tuple((bias - bias.mean()).tolist())


def _with_map(
    rows: LabelledScores, temperature: float, before: ScoreCalibration
) -> ScoreCalibration:
    scores, _ = scored(rows, temperature, replace(before, knots=()))
    return replace(before, knots=isotonic_knots(scores, rows.gold))


def conformal_width(
    held: LabelledScores, temperature: float, calibration: ScoreCalibration, coverage: float
) -> float:
    """Spreads that intervals need so that gold lies in them as often as wanted.

    The one of the n + 1 ranks that makes the promise hold for a new row, whatever the
    distributions are, as long as it is drawn like these.

    Args:
        held: rows that nothing was fitted on.
        temperature: of the levels.
        calibration: its map and biases are used.
        coverage: wanted.

    Raises:
        InputError: so few rows cannot promise so much.

    Source: split conformal prediction, V. Vovk et al., Algorithmic Learning in a Random World
        (2005); J. Lei et al., arXiv:1604.04173.
    """
    scores, probabilities = scored(held, temperature, calibration)
    spreads = np.array([spread(row, held.low) for row in probabilities])
    ranked = np.sort(np.abs(scores - held.gold) / spreads)
    rank = math.ceil((len(ranked) + 1) * coverage)
    if rank > len(ranked):
        needed = math.ceil(coverage / (1 - coverage))
        raise InputError(
            f"{len(ranked)} rows are left to set intervals by, and {coverage:.0%} take {needed}",
            f"label about {2 * needed} rows, or ask for less coverage",
        )
    return float(ranked[rank - 1])


def fit_pairs(
    log_probs: Floats, gold: Ints, items: Ints, before: float = 1.0, seed: int = 0
) -> tuple[float, float]:
    """Temperature and tie margin of pairs.

    Args:
        log_probs: (n, 3) of first, second, tie, both orders reconciled, at temperature 1.
        gold: (n,) FIRST, SECOND or TIE.
        items: (n,) numbers of items.
        before: temperature that is kept where another one does not help on folds, or where the
            rows do not settle one.
        seed: of the folds.

    Raises:
        InputError: too few rows.
    """
    if len(gold) < LEAST_ROWS:
        raise InputError(
            f"{len(gold)} readable pairs are too few to fit on", f"label at least {LEAST_ROWS}"
        )
    temperature, gain = fit_temperature(log_probs, gold), 0.0
    for out in _folds(items, seed):
        fitted = fit_temperature(log_probs[~out], gold[~out])
        losses = [log_loss(log_probs[out], gold[out], t) for t in (before, fitted)]
        gain += int(out.sum()) * (losses[0] - losses[1])
    if gain <= _NEVER or not determined(temperature):
        temperature = before
    return temperature, fit_tie_margin(log_softmax(log_probs, temperature), gold)


def whole_rubrics(bounds: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The one rubric of all rows.

    Raises:
        InputError: there are several.
    """
    found = set(bounds)
    if len(found) != 1:
        told = ", ".join(f"{low}-{high}" for low, high in sorted(found))
        raise InputError(f"the scores are on several rubrics: {told}", "calibrate one at a time")
    return next(iter(found))
