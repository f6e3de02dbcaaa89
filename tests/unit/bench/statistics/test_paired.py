"""Paired comparisons: against statsmodels and scipy, by simulation, and in words."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from edgecritic import InputError
from edgecritic_bench.statistics import intervals
from edgecritic_bench.statistics.equivalence import (
    claim_mean_parity,
    claim_share_parity,
    share_tost,
    tost,
)
from edgecritic_bench.statistics.paired import (
    Flips,
    Spread,
    difference,
    mcnemar,
    sign_test,
    spread,
)
from edgecritic_bench.statistics.power import (
    detectable_mean,
    detectable_share,
    rows_for_equivalence,
)


def flipped(n: int, lost: int, won: int) -> tuple[np.ndarray, np.ndarray]:
    """Hits of two judges: half of the rows right by both, but for the flips."""
    reference, other = np.zeros(n), np.zeros(n)
    reference[: n // 2] = other[: n // 2] = 1
    other[:lost] = 0
    other[n - won :] = 1
    return reference, other


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_that_of_statsmodels(lost, won):
    expected = their_mcnemar([[5, lost], [won, 5]], exact=True).pvalue
    assert mcnemar(lost, won) == pytest.approx(expected)
    reference, other = flipped(200, lost, won)
    found = Flips.of(reference, other)
    assert (found.lost, found.won, found.n) == (lost, won, 200)
    assert found.discordance == pytest.approx((lost + won) / 200)


def test_the_sign_test_of_single_rows_is_mcnemars():
    reference, other = flipped(400, 22, 9)
    found = sign_test(other - reference, np.arange(400))
    assert found == pytest.approx(mcnemar(22, 9), abs=0.006)
    assert sign_test(np.zeros(5), np.arange(5)) == 1.0


def test_the_sign_test_counts_items_where_mcnemar_counts_rows():
    # Ten copies of four flips are four flips.
    differences = np.repeat([-1.0, -1.0, -1.0, -1.0], 10)
    assert mcnemar(40, 0) < 1e-11
    found = sign_test(differences, np.repeat(np.arange(4), 10))
    assert found == pytest.approx(2 / 2**4, abs=0.02)


def test_a_difference_is_resampled_in_pairs():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(25), 4)
    reference = rng.random(100)
    other = reference + 0.1
    # The two move together, so the difference is sure though each is not.
    found = difference(reference, other, clusters)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))
    noisy = other + rng.normal(size=100)
    by_hand = []
    for counts in intervals.weights(25):
        rows = np.repeat(np.arange(100), counts.astype(int)[clusters])
        by_hand.append((noisy[rows] - reference[rows]).mean())
    low, high = np.percentile(by_hand, [2.5, 97.5])
    found = difference(reference, noisy, clusters)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    with pytest.raises(InputError, match="99 rows of the reference stand against 100"):
        difference(reference[1:], other, clusters)


def test_the_error_of_single_rows_is_the_ordinary_one():
    values = np.random.default_rng(3).normal(size=80)
    known = spread(values, np.arange(80))
    assert known.error == pytest.approx(stats.sem(values))
    assert known.design == pytest.approx(1)
    with pytest.raises(InputError, match="1 item is too few"):
        spread(values, np.zeros(80, dtype=int))


def test_the_error_of_copied_rows_is_that_of_the_rows():
    values = np.random.default_rng(3).normal(size=80)
    once, copied = spread(values, np.arange(80)), spread(values.repeat(5), np.arange(80).repeat(5))
    assert copied.error == pytest.approx(once.error)
    assert copied.design == pytest.approx(5, rel=0.02)


@given(st.integers(0, 10**6), st.floats(0.05, 2.0))
def test_tost_is_that_of_statsmodels(seed, margin):
    rng = np.random.default_rng(seed)
    one = rng.normal(size=30)
    two = one + rng.normal(0.1, 0.6, 30)
    expected = ttost_paired(two, one, -margin, margin)[0]
    found = tost(spread(two - one, np.arange(30)), margin)
    assert found.p_value == pytest.approx(expected, abs=1e-9)
    low, high = DescrStatsW(two - one).tconfint_mean(alpha=0.1)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    # The interval says the same as the p-value.
    assert (found.p_value < 0.05) == (-margin < found.low and found.high < margin)


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (3, 0), (0, 3), (4, 5)])
def test_few_flips_are_tested_exactly(lost, won):
    reference, other = flipped(200, lost, won)
    known = spread(other - reference, np.arange(200))
    # Rows of their own: the design effect is 1 but where no flip shows it, and then it is, too.
    assert known.n_effective == pytest.approx(200, rel=0.01)
    found = share_tost(Flips.of(reference, other), known, 0.05)
    exact = stats.binomtest(lost, 200, 0.05, alternative="less").pvalue
    if lost >= won:
        assert found.p_value == pytest.approx(exact, rel=0.05)
    upper = stats.binomtest(lost, 200, alternative="less").proportion_ci(0.95).high
    assert found.low == pytest.approx(-upper, rel=0.02)
    assert (found.p_value < 0.05) == (found.low > -0.05 and found.high < 0.05)


def test_many_flips_are_padded():
    reference, other = flipped(300, 20, 10)
    found = share_tost(Flips.of(reference, other), spread(other - reference, np.arange(300)), 0.1)
    # Agresti and Min: 20.5 against 10.5 flips among 302 rows.
    mean = -10 / 302
    error = math.sqrt(31 - 10**2 / 302) / 302
    assert (found.low + found.high) / 2 == pytest.approx(mean, rel=0.01)
    assert (found.high - found.low) / 2 == pytest.approx(1.65 * error, rel=0.01)


def test_no_flips_support_a_claim_only_where_some_would_have_shown():
    # A loss of 2% leaves 148 rows without a flip in 5.03% of samples, and 149 in 4.93%.
    for n, standing in ((148, "refused"), (149, "equivalent")):
        assert claim_share_parity(*flipped(n, 0, 0), np.arange(n), 0.02).standing == standing


@pytest.mark.parametrize(("lost", "won"), [(0.06, 0.02), (0.04, 0.0)])
def test_parity_is_wrongly_claimed_at_most_as_often_as_alpha(lost, won):
    rng = np.random.default_rng(9)
    claimed = 0
    items = np.repeat(np.arange(200), 3)
    for _ in range(400):
        # The true difference is the margin itself, in items of three rows alike.
        draw = np.repeat(rng.choice([-1.0, 1.0, 0.0], p=[lost, won, 1 - lost - won], size=200), 3)
        differences, flips = draw, Flips.of((draw == -1) * 1.0, (draw == 1) * 1.0)
        tested = share_tost(flips, spread(differences, items), 0.04)
        claimed += tested.p_value < 0.05
    # 5% of 400 is 20; 33 or more would happen once in 300 such tests.
    assert claimed <= 33


def test_the_detectable_difference_of_the_usual_sample_sizes():
    # (1.96 + 0.84) sqrt(0.1 / n), the simple form, is 2.5 points at 1,250 pairs and 6.8 at 170.
    assert detectable_share(1250, 0.1) == pytest.approx(0.025, abs=0.0003)
    assert detectable_share(170, 0.1) == pytest.approx(0.068, abs=0.002)
    assert math.isnan(detectable_share(20, 0.02))


def test_a_detectable_share_is_found_as_often_as_the_power_says():
    n, discordance = 800, 0.1
    delta = detectable_share(n, discordance)
    chances = [(discordance + delta) / 2, (discordance - delta) / 2, 1 - discordance]
    rng = np.random.default_rng(6)
    found = 0
    for lost, won, _ in rng.multinomial(n, chances, size=3000):
        # McNemar's test without continuity correction, which the formula describes.
        found += abs(lost - won) > 1.959964 * math.sqrt(lost + won)
    assert found / 3000 == pytest.approx(0.8, abs=0.025)


def test_a_detectable_mean_is_that_of_statsmodels():
    expected = TTestPower().solve_power(nobs=2000, alpha=0.05, power=0.8) * 1.7
    assert detectable_mean(2000, 1.7) == pytest.approx(expected, rel=2e-3)


def test_so_many_rows_confirm_parity_as_often_as_the_power_says():
    n = rows_for_equivalence(0.1, 0.02)
    # (1.645 + 1.282)^2 0.1 / 0.02^2
    assert n == pytest.approx(2141, abs=2)
    rng = np.random.default_rng(2)
    confirmed = 0
    for lost, won, _ in rng.multinomial(n, [0.05, 0.05, 0.9], size=2000):
        reach = 1.644854 * math.sqrt((lost + won) / n - ((won - lost) / n) ** 2) / math.sqrt(n)
        confirmed += abs(won - lost) / n + reach < 0.02
    assert confirmed / 2000 == pytest.approx(0.8, abs=0.03)


def test_parity_on_170_pairs_is_refused_in_words():
    claim = claim_share_parity(*flipped(170, 9, 8), np.arange(170), 0.02)
    assert claim.standing == "refused"
    assert claim.words.startswith("Refused: this sample cannot support parity within 2.0 points")
    assert f"no difference below {100 * claim.detectable:.1f} points" in claim.words
    assert f"about {claim.rows_needed:,} rows" in claim.words
    assert claim.rows_needed > 2000
    page = (Path(__file__).parents[4] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert claim.words in " ".join(page.replace("\n  >", "\n").split())


def test_no_flip_among_few_rows_is_refused_too():
    claim = claim_share_parity(*flipped(40, 0, 0), np.arange(40), 0.02)
    assert claim.flips == Flips(40, 0, 0, 1.0)
    assert claim.standing == "refused"
    assert "takes about" in claim.words
    assert claim_share_parity(*flipped(400, 0, 0), np.arange(400), 0.02).standing == "equivalent"


@pytest.mark.parametrize(("n", "lost", "won"), [(40, 0, 0), (200, 1, 1), (100, 0, 1), (300, 3, 1)])
def test_few_flips_say_how_many_rows_would_do(n, lost, won):
    """As many rows with flips as often are equivalent, and a tenth fewer are not."""
    needed = claim_share_parity(*flipped(n, lost, won), np.arange(n), 0.02).rows_needed
    assert needed < 1000

    def passes(rows):
        seen = Flips(rows, lost * rows / n, won * rows / n, 1.0)
        tested = share_tost(seen, Spread(0.0, 0.01, rows, rows, 1.0), 0.02)
        return max(-tested.low, tested.high) < 0.02

    assert passes(needed)
    assert not passes(round(0.9 * needed))


def test_many_flips_take_more_rows_than_few():
    needed = [
        claim_share_parity(*flipped(400, k, k), np.arange(400), 0.02).rows_needed
        for k in (0, 1, 2, 10, 40)
    ]
    assert needed == sorted(needed)


def test_a_large_sample_supports_parity_and_says_so():
    claim = claim_share_parity(*flipped(4000, 60, 55), np.arange(4000), 0.02)
    assert claim.standing == "equivalent"
    assert claim.words.startswith("Equivalent within 2.0 points: -0.1 points on 4,000 rows")
    assert "difference there is" not in claim.words
    small = claim_share_parity(*flipped(4000, 60, 25), np.arange(4000), 0.02)
    assert small.standing == "equivalent"
    assert "a difference there is, but one that small" in small.words


def test_the_same_rows_of_few_items_support_less():
    reference, other = flipped(4000, 60, 55)
    claim = claim_share_parity(reference, other, np.repeat(np.arange(20), 200), 0.005)
    assert claim.standing == "refused"
    assert claim.equivalence.high - claim.equivalence.low > 0.01


@pytest.mark.parametrize(("lost", "won", "standing"), [(200, 10, "worse"), (10, 200, "better")])
def test_a_great_difference_is_named(lost, won, standing):
    claim = claim_share_parity(*flipped(1000, lost, won), np.arange(1000), 0.02)
    assert claim.standing == standing
    assert claim.words.startswith(f"Not equivalent: {standing} by more than 2.0 points")
    assert claim.p_value < 0.001


def test_a_difference_at_the_margin_is_not_for_want_of_rows():
    claim = claim_share_parity(*flipped(20000, 500, 100), np.arange(20000), 0.02)
    assert claim.standing == "refused"
    assert "too near the margin to tell" in claim.words


def test_scores_have_parity_too():
    rng = np.random.default_rng(1)
    reference = rng.normal(size=3000)
    same = claim_mean_parity(reference, reference + rng.normal(0, 0.5, 3000), np.arange(3000), 0.1)
    assert same.standing == "equivalent"
    assert same.flips is None
    few = claim_mean_parity(
        reference[:20], reference[:20] + rng.normal(0, 1, 20), np.arange(20), 0.1
    )
    assert few.standing == "refused"
    with pytest.raises(InputError, match="the margin is 0, not above 0"):
        claim_mean_parity(reference, reference, np.arange(3000), 0)
