"""What a judge says of response models: their scores' distributions, and their ranking.

The two levels on which the LLaVA-Critic article compares a critic with its reference judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecritic_bench.statistics.intervals import Estimate, mean, of_sums, renumbered
from edgecritic_bench.tables import Floats, Ints


@dataclass(frozen=True, slots=True)
class ModelScores:
    """How one response model fares with the critic and with the reference judge.

    Attributes:
        critic: mean score, with its interval.
        reference: likewise.
        critic_levels: (n_levels,) share of responses at each level, scores rounded to the nearest.
        reference_levels: likewise.
        distance: mean shift of a score that would turn one distribution into the other.
    """

    critic: Estimate
    reference: Estimate
    critic_levels: Floats
    reference_levels: Floats
    distance: float


def by_model(
    critic: Floats,
    reference: Floats,
    model: Sequence[str],
    levels: Floats,
    clusters: Ints,
) -> dict[str, ModelScores]:
    """Each model's scores, in the order of their names.

    Args:
        critic: (n,) scores.
        reference: (n,) scores of the same responses.
        model: (n,) who wrote each response.
        levels: (n_levels,) ascending.
        clusters: (n,) item numbers.
    """
    names = np.asarray(model)
    found = {}
    for name in sorted(set(model)):
        rows = names == name
        items = renumbered(clusters[rows])
        found[name] = ModelScores(
            critic=mean(critic[rows], items),
            reference=mean(reference[rows], items),
            critic_levels=histogram(critic[rows], levels),
            reference_levels=histogram(reference[rows], levels),
            distance=wasserstein(critic[rows], reference[rows]),
        )
    return found


def histogram(scores: Floats, levels: Floats) -> Floats:
    """(n_levels,) share of scores nearest to each level; the lower one, halfway between two."""
    middles = (levels[1:] + levels[:-1]) / 2
    counts = np.bincount(np.searchsorted(middles, scores), minlength=len(levels))
    return np.asarray(counts / max(1, len(scores)), dtype=np.float64)


def wasserstein(one: Floats, other: Floats) -> float:
    """Area between two distribution functions, in the unit of the scores; n >= 1 each."""
    values = np.sort(np.concatenate([one, other]))
    below = [
        np.searchsorted(np.sort(part), values[:-1], "right") / len(part) for part in (one, other)
    ]
    return float(np.abs(below[0] - below[1]) @ np.diff(values))


def model_rank_tau(
    critic: Floats, reference: Floats, model: Sequence[str], clusters: Ints
) -> Estimate:
    """Kendall's tau-b of two rankings of models, each by mean score.

    The interval comes from resampled items, with the models as they are: it tells how much of the
    ranking is chance of which questions were asked.

    Args:
        critic: (n,) scores.
        reference: (n,) scores of the same responses.
        model: (n,) who wrote each response.
        clusters: (n,) item numbers.

    Returns:
        The estimate, with `n` rows; nothing with fewer than two models.
    """
    names, column = np.unique(np.asarray(model), return_inverse=True)
    terms = np.zeros((len(critic), 3, len(names)))
    terms[np.arange(len(critic)), :, column] = np.stack(
        [critic, reference, np.ones_like(critic)], axis=1
    )
    return of_sums(terms, _taus, clusters)


def _taus(sums: Floats) -> Floats:
    """(r,) tau-b of each (3, models) table of sums; models that were not drawn are left out."""
    taus = np.full(len(sums), np.nan)
    for index, (ours, theirs, counts) in enumerate(sums):
        drawn = counts > 0
        if drawn.sum() > 1:
            taus[index] = tau_b(ours[drawn] / counts[drawn], theirs[drawn] / counts[drawn])
    return taus


def tau_b(x: Floats, y: Floats) -> float:
    """Kendall's tau-b of a few values, without an interval; NaN where a column does not vary.

    Values that differ by rounding alone are equal: means of equal scores must tie.
    """
    x_signs, y_signs = (_signs(column) for column in (x, y))
    below = float(np.sqrt((x_signs != 0).sum() * (y_signs != 0).sum()))
    return float((x_signs * y_signs).sum()) / below if below else float("nan")


def _signs(column: Floats) -> Floats:
    gaps = column[:, None] - column[None, :]
    tolerance = 1e-12 * max(1.0, float(np.abs(column).max()))
    return np.asarray(np.where(np.abs(gaps) <= tolerance, 0.0, np.sign(gaps)), dtype=np.float64)


def ranked(scores: Mapping[str, float]) -> tuple[str, ...]:
    """Models, the best first; equals by name."""
    return tuple(sorted(scores, key=lambda name: (-scores[name], name)))
