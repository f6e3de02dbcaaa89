"""Two judges on the same rows: which verdicts flip, and whether the difference is one at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgecritic import InputError
from edgecritic_bench.statistics.intervals import SEED, Estimate, mean, sums_by_item
from edgecritic_bench.tables import Floats, Ints

_DRAWS = 9999
"""Random signs for the test over items; with the observed ones, 10,000."""


@dataclass(frozen=True, slots=True)
class Flips:
    """Right and wrong verdicts on the same rows.

    Attributes:
        n: rows with a gold answer.
        lost: right by the reference, wrong by the other judge.
        won: the other way round.
        p_value: exact McNemar test of lost against won, two-sided.
    """

    n: int
    lost: int
    won: int
    p_value: float

    @property
    def discordance(self) -> float:
        """Share of rows that flipped either way; NaN without rows."""
        return (self.lost + self.won) / self.n if self.n else math.nan

    @classmethod
    def of(cls, reference: Floats, other: Floats) -> Flips:
        """Count flips.

        Args:
            reference: (n,) 1 where the reference is right, else 0.
            other: (n,) likewise for the other judge.
        """
        lost = int(((reference == 1) & (other == 0)).sum())
        won = int(((reference == 0) & (other == 1)).sum())
        return cls(len(reference), lost, won, mcnemar(lost, won))


def mcnemar(lost: int, won: int) -> float:
    """Exact two-sided McNemar test: chance of so uneven a split of the flips, were it a coin's.

    It takes rows for independent; `sign_test` asks the same of items.
    """
    flips, fewer = lost + won, min(lost, won)
    tail = sum(math.comb(flips, k) for k in range(fewer + 1))
    return float(min(1, 2 * tail / 2**flips))


def sign_test(differences: Floats, clusters: Ints) -> float:
    """Chance of so great a sum of differences if each item's sign were a coin's, two-sided.

    With one row an item and differences of -1, 0 and 1 this is McNemar's test, but for chance:
    the signs are drawn, not enumerated.

    Args:
        differences: (n,) other less reference, row by row.
        clusters: (n,) item numbers.
    """
    sums = sums_by_item(differences, clusters) if len(differences) else np.zeros(0)
    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    rng = np.random.default_rng(SEED)
    seen = abs(float(sums.sum()))
    signs = rng.integers(0, 2, (_DRAWS, len(sums)), dtype=np.int8) * np.int8(2) - np.int8(1)
    # Sums of the same numbers in another order differ in their last digits.
    extreme = np.abs(signs @ sums) >= seen * (1 - 1e-9)
    return float((extreme.sum() + 1) / (_DRAWS + 1))


def difference(reference: Floats, other: Floats, clusters: Ints) -> Estimate:
    """Mean of other less reference, the two resampled together, item by item.

    Args:
        reference: (n,) one number a row, such as 1 for right and 0 for wrong.
        other: (n,) likewise, of the same rows.
        clusters: (n,) item numbers.

    Raises:
        InputError: the columns are not of the same rows.
    """
    if len(reference) != len(other):
        raise InputError(
            f"{len(reference)} rows of the reference stand against {len(other)} of the other",
            "pair the rows first: a paired test needs both verdicts on each",
        )
    return mean(other - reference, clusters)


@dataclass(frozen=True, slots=True)
class Spread:
    """How exactly a mean is known.

    Attributes:
        mean: over rows.
        error: standard error, robust against rows of one item going together.
        n: rows.
        n_items: items.
        design: how many times larger than that of independent rows the variance is; at least 1.
    """

    mean: float
    error: float
    n: int
    n_items: int
    design: float

    @property
    def n_effective(self) -> float:
        """Independent rows that would know the mean as exactly."""
        return self.n / self.design


def spread(values: Floats, clusters: Ints) -> Spread:
    """Mean and its cluster-robust standard error.

    Args:
        values: (n,) numbers, of two items at least.
        clusters: (n,) item numbers, each occurring.

    Raises:
        InputError: fewer than two items.

    Source: the linearised variance of a ratio of two sums over items, as in K.-Y. Liang and
        S. L. Zeger, Biometrika 73 (1986), with the factor G / (G - 1).
    """
    n, n_items = len(values), len(np.unique(clusters))
    if n_items < 2:
        raise InputError(
            f"{n_items} item is too few to tell how exactly a mean is known",
            "judge more items",
        )
    centred = values - values.mean()
    per_item = sums_by_item(centred, clusters)
    robust = n_items / (n_items - 1) * float((per_item**2).sum()) / n**2
    plain = float((centred**2).sum()) / (n - 1) / n
    # Rows that are all alike tell nothing of what items share: then items count, not rows.
    design = max(1.0, robust / plain) if plain > 0 else n / n_items
    return Spread(float(values.mean()), math.sqrt(robust), n, n_items, design)
