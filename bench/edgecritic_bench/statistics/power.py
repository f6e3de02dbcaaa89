"""What a sample could show: the smallest difference it detects, and the rows that a claim needs."""

from __future__ import annotations

import math
from statistics import NormalDist

ALPHA = 0.05
POWER = 0.8
_STEPS = 100


def _z(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def detectable_share(
    n: float, discordance: float, *, alpha: float = ALPHA, power: float = POWER
) -> float:
    """The smallest difference of two paired shares that a two-sided test finds.

    Args:
        n: independent rows, above 0.
        discordance: share of rows that flip either way, in (0, 1].
        alpha: chance of finding what is not there.
        power: chance of finding what is.

    Returns:
        A difference of shares; NaN where even a flip of all discordant rows one way is too little.

    Source: R. J. Connor, Sample size for testing differences in proportions for the paired-sample
        design, Biometrics 43 (1987): delta = (z_a sqrt(d) + z_b sqrt(d - delta^2)) / sqrt(n).
    """
    z_alpha, z_beta = _z(1 - alpha / 2), _z(power)

    def short(delta: float) -> bool:
        needed = z_alpha * math.sqrt(discordance) + z_beta * math.sqrt(
            max(0.0, discordance - delta**2)
        )
        return delta * math.sqrt(n) < needed

    if short(discordance):
        return math.nan
    low, high = 0.0, discordance
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if short(middle) else (low, middle)
    return high


def detectable_mean(n: float, sd: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest mean of paired differences that a two-sided test finds.

    Args:
        n: independent rows, above 0.
        sd: standard deviation of the differences.
        alpha: as for `detectable_share`.
        power: likewise.
    """
    return (_z(1 - alpha / 2) + _z(power)) * sd / math.sqrt(n)


def rows_for_equivalence(
    variance: float, margin: float, *, alpha: float = ALPHA, power: float = POWER
) -> int:
    """Independent rows with which two one-sided tests confirm a true difference of nothing.

    Args:
        variance: of one row's difference; the discordance, for shares.
        margin: differences below it do not matter.
        alpha: of each one-sided test.
        power: chance that both succeed.
    """
    # Both tests must succeed, so each may fail with half of the allowed chance.
    reach = _z(1 - alpha) + _z(1 - (1 - power) / 2)
    return max(2, math.ceil(variance * (reach / margin) ** 2))
