"""Whether two judges are equivalent: two one-sided tests, and claims that a sample must bear out.

"No significant difference" is no parity: a small sample never finds one. Parity is claimed only
where both one-sided tests reject a difference as great as the margin; where they do not, the claim
is refused, with what this sample could have shown and how many rows the claim would take.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, TypeAlias, cast

import numpy as np

from edgecritic import InputError, MissingExtraError
from edgecritic_bench.statistics.intervals import Estimate, wilson
from edgecritic_bench.statistics.paired import Flips, Spread, difference, sign_test, spread
from edgecritic_bench.statistics.power import (
    ALPHA,
    detectable_mean,
    detectable_share,
    rows_for_equivalence,
)
from edgecritic_bench.tables import Floats, Ints

Standing: TypeAlias = Literal["equivalent", "worse", "better", "refused"]
_FEW = 10
"""Fewer flips than so many are tested exactly."""
FEWEST_ITEMS = 20
"""Items below which a standard error over items is too uncertain for a claim of parity."""
_Written: TypeAlias = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Tost:
    """Two one-sided tests of a mean difference against a margin.

    Attributes:
        margin: differences below it do not matter.
        p_value: the greater of the two; below alpha the difference is within the margin.
        low: lower end of the interval of 1 - 2 alpha; within the margin just when p is below alpha.
        high: its upper end.
    """

    margin: float
    p_value: float
    low: float
    high: float


def tost(known: Spread, margin: float, alpha: float = ALPHA) -> Tost:
    """Two one-sided t tests, with one degree of freedom less than items.

    Args:
        known: of the differences.
        margin: above 0, in their unit.
        alpha: of each test.

    Raises:
        InputError: the margin is not above 0.
        MissingExtraError: scipy is not installed.

    Source: D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987).
    """
    _check_margin(margin)
    stats = _scipy_stats()
    degrees = known.n_items - 1
    half = float(stats.t.isf(alpha, degrees)) * known.error
    nearest = margin - abs(known.mean)
    if known.error > 0:
        p_value = float(stats.t.sf(nearest / known.error, degrees))
    else:
        p_value = 0.0 if nearest > 0 else 1.0
    return Tost(margin, p_value, known.mean - half, known.mean + half)


def _check_margin(margin: float) -> None:
    if not margin > 0:
        raise InputError(f"the margin is {margin}, not above 0", "say which difference matters")


def _scipy_stats() -> ModuleType:
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtraError(
            "tests of equivalence need scipy", "pip install 'edgecritic[bench]'"
        ) from error
    return cast(ModuleType, stats)


def share_tost(flips: Flips, known: Spread, margin: float, alpha: float = ALPHA) -> Tost:
    """The same for two shares, where few flips are no certainty.

    Flips are first scaled down to those of independent rows. Fewer than ten of these are tested
    exactly: a share that is lower by the margin has lost at least so many rows, so it is the chance
    of no more lost flips that counts, whatever was won. More are tested as `tost` does, with half a
    flip added each way and two rows in all.

    Args:
        flips: counted.
        known: of the same rows' differences, which are -1, 0 and 1.
        margin: in shares, above 0.
        alpha: of each test.

    Raises:
        InputError: the margin is not above 0.
        MissingExtraError: scipy is not installed.

    Source: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934), for the few; A. Agresti and
        Y. Min, Simple improved confidence intervals for comparing matched proportions, Statistics
        in Medicine 24 (2005), for the many.
    """
    _check_margin(margin)
    n = known.n_effective
    lost, won = (count * n / flips.n for count in (flips.lost, flips.won))
    if lost + won >= _FEW:
        mean = (won - lost) / (n + 2)
        variance = ((won + lost + 1) - (won - lost) ** 2 / (n + 2)) / (n + 2) ** 2
        padded = Spread(mean, math.sqrt(variance), known.n, known.n_items, known.design)
        return tost(padded, margin, alpha)
    beta = _scipy_stats().beta
    p_values, most = [], []
    for count in (lost, won):
        certain = count >= n
        p_values.append(1.0 if certain else float(beta.sf(margin, count + 1, n - count)))
        most.append(1.0 if certain else float(beta.isf(alpha, count + 1, n - count)))
    return Tost(margin, max(p_values), -most[0], most[1])


@dataclass(frozen=True, slots=True)
class ParityClaim:
    """What may be said of two judges on this sample.

    Attributes:
        standing: equivalent within the margin; worse or better by more than it; or refused.
        words: the same in a sentence.
        margin: differences below it do not matter.
        difference: other less reference, with its 95% interval over items.
        equivalence: the two one-sided tests.
        p_value: that there is any difference, by random signs of items.
        detectable: smallest difference that this sample finds with 80% power.
        rows_needed: rows that parity would take if there were no difference; where flips are so few
            that they are tested exactly, if they went on to come as they did.
        flips: for shares; None for scores.
    """

    standing: Standing
    words: str
    margin: float
    difference: Estimate
    equivalence: Tost
    p_value: float
    detectable: float
    rows_needed: int
    flips: Flips | None


def claim_share_parity(
    reference: Floats, other: Floats, clusters: Ints, margin: float
) -> ParityClaim:
    """Whether another judge is right as often as the reference.

    Args:
        reference: (n,) 1 where the reference is right, else 0.
        other: (n,) likewise, on the same rows.
        clusters: (n,) item numbers, of two items at least.
        margin: in shares; 0.02 for two points.

    Raises:
        InputError: too few items, or the rows are not the same.
        MissingExtraError: scipy is not installed.
    """
    found = difference(reference, other, clusters)
    flips = Flips.of(reference, other)
    known = spread(other - reference, clusters)
    tested = share_tost(flips, known, margin)
    # Without any flip, as many as could have stayed unseen.
    discordance = flips.discordance or wilson(0, max(1, round(known.n_effective)))[1]
    detectable = detectable_share(known.n_effective, discordance)
    rows = _rows_of_few(flips, margin) or rows_for_equivalence(discordance, margin)
    needed = math.ceil(rows * known.design)
    return _claim(
        _Sample(found, tested, sign_test(other - reference, clusters), detectable, needed),
        flips,
        lambda value: f"{100 * value:.1f} points",
    )


def _rows_of_few(flips: Flips, margin: float) -> int | None:
    """Independent rows with which `share_tost` passes exactly, if flips come as they did.

    None where there are too many flips for that, or more of one kind than the margin allows.
    """
    beta = _scipy_stats().beta
    often = max(flips.lost, flips.won) / flips.n
    most = _FEW / flips.discordance if flips.discordance else math.inf

    def shown(n: int) -> bool:
        return float(beta.isf(ALPHA, often * n + 1, n - often * n)) < margin

    n = 1
    while often < margin and n < most and not shown(n):
        n *= 2
    if often >= margin or not shown(n):
        return None
    rows = bisect_left(range(n), True, lo=n // 2, key=shown)
    return rows if rows < most else None


def claim_mean_parity(
    reference: Floats, other: Floats, clusters: Ints, margin: float
) -> ParityClaim:
    """Whether another judge's numbers, such as errors of scores, are the reference's on average.

    Args:
        reference: (n,) numbers.
        other: (n,) likewise, on the same rows; greater is better.
        clusters: (n,) item numbers, of two items at least.
        margin: in their unit.

    Raises:
        InputError: too few items, or the rows are not the same.
        MissingExtraError: scipy is not installed.
    """
    found = difference(reference, other, clusters)
    gaps = other - reference
    known = spread(gaps, clusters)
    tested = tost(known, margin)
    sd = float(np.std(gaps, ddof=1))
    detectable = detectable_mean(known.n_effective, sd)
    needed = math.ceil(rows_for_equivalence(sd**2, margin) * known.design)
    return _claim(
        _Sample(found, tested, sign_test(gaps, clusters), detectable, needed),
        None,
        lambda value: f"{value:.3f}",
    )


@dataclass(frozen=True, slots=True)
class _Sample:
    """What was measured, before it is judged."""

    found: Estimate
    tested: Tost
    p_value: float
    detectable: float
    needed: int


def _claim(sample: _Sample, flips: Flips | None, written: _Written) -> ParityClaim:
    standing = _standing(sample)
    return ParityClaim(
        standing=standing,
        words=_words(standing, sample, written),
        margin=sample.tested.margin,
        difference=sample.found,
        equivalence=sample.tested,
        p_value=sample.p_value,
        detectable=sample.detectable,
        rows_needed=sample.needed,
        flips=flips,
    )


def _standing(sample: _Sample) -> Standing:
    tested = sample.tested
    if -tested.margin < tested.low and tested.high < tested.margin:
        return "equivalent" if sample.found.n_items >= FEWEST_ITEMS else "refused"
    if tested.high <= -tested.margin:
        return "worse"
    return "better" if tested.low >= tested.margin else "refused"


def _words(standing: Standing, sample: _Sample, written: _Written) -> str:
    found, tested = sample.found, sample.tested
    measured = (
        f"{_signed(found.value, written)} on {found.n:,} rows of {found.n_items:,} items, "
        f"90% interval {_signed(tested.low, written)} to {_signed(tested.high, written)}"
    )
    margin = written(tested.margin)
    if standing == "equivalent":
        real = sample.p_value < ALPHA
        note = "; a difference there is, but one that small" if real else ""
        return f"Equivalent within {margin}: {measured}{note}."
    if standing != "refused":
        return f"Not equivalent: {standing} by more than {margin}: {measured}."
    seen = (
        f"it would notice no difference below {written(sample.detectable)}"
        if math.isfinite(sample.detectable)
        else "it is too small to notice any difference"
    )
    if found.n_items < FEWEST_ITEMS:
        cure = f"a claim takes {FEWEST_ITEMS} items at least"
    elif sample.needed > found.n:
        cure = f"a claim of parity takes about {sample.needed:,} rows"
    else:  # Few rows are not the reason where the difference itself fills the margin.
        cure = "the difference itself is too near the margin to tell"
    return (
        f"Refused: this sample cannot support parity within {margin}: {measured}; {seen}; {cure}."
    )


def _signed(value: float, written: _Written) -> str:
    return f"{'-' if value < 0 else '+'}{written(abs(value))}"
