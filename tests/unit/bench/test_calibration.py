"""Temperatures and margins against scipy and brute force; reliability against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss as sklearn_log_loss

from edgecritic import InputError
from edgecritic_bench import calibration
from edgecritic_bench.calibration import Calibration, fit, fit_temperature, fit_tie_margin, log_loss
from edgecritic_bench.statistics.reliability import N_BINS, calibration_error, reliability
from edgecritic_bench.tables import TIE, log_softmax, winners


def sampled(seed: int, n: int = 400, true_temperature: float = 2.0):
    """Log-probs that are too sure by a factor, with gold drawn from the honest ones."""
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(rng.normal(0, 3, (n, 3)))
    honest = np.exp(log_softmax(log_probs, true_temperature))
    gold = np.array([rng.choice(3, p=p) for p in honest])
    return log_probs, gold


def test_log_loss_is_sklearns():
    log_probs, gold = sampled(0)
    assert log_loss(log_probs, gold) == pytest.approx(
        sklearn_log_loss(gold, np.exp(log_probs), labels=[0, 1, 2])
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_is_the_one_that_scipy_finds(seed):
    log_probs, gold = sampled(seed)
    theirs = minimize_scalar(
        lambda t: log_loss(log_probs, gold, t), bounds=(0.05, 20), method="bounded"
    )
    assert fit_temperature(log_probs, gold) == pytest.approx(theirs.x, rel=1e-3)
    assert fit_temperature(log_probs, gold) == pytest.approx(2.0, rel=0.2)


def test_a_perfect_critic_gets_the_sharpest_temperature():
    log_probs, gold = log_softmax(np.eye(3)), np.arange(3)
    assert fit_temperature(log_probs, gold) == pytest.approx(0.05, rel=1e-3)


@example(seed=170730, n=27)  # two leads that are neighbouring floats
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_no_margin_beats_the_fitted_one(seed, n):
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(rng.normal(0, 1.5, (n, 3)).round(1))  # rounded, for equal leads
    gold = rng.integers(0, 3, n)

    def right(margin: float) -> int:
        return int((winners(log_probs, margin) == gold).sum())

    lead = np.abs(log_probs[:, 0] - log_probs[:, 1])
    tried = [0.0, *np.nextafter(lead, np.inf), *(lead / 2), *(lead + 0.01)]
    assert right(fit_tie_margin(log_probs, gold)) == max(right(margin) for margin in tried)


def test_a_margin_that_gains_nothing_is_zero():
    log_probs = log_softmax(np.array([[3.0, 0.0, -2.0], [0.0, 3.0, -2.0]]))
    assert fit_tie_margin(log_probs, np.array([0, 1])) == 0.0
    assert fit_tie_margin(log_softmax(np.array([[0.0, 0.0, 5.0]])), np.array([TIE])) == 0.0


def test_calibration_mends_an_overconfident_critic(simulate, skill):
    fitted = fit(simulate(300, skill=skill(sharpness=4.0)))
    honest = fit(simulate(300, skill=skill(sharpness=1.0)))
    assert fitted.pairwise_temperature == pytest.approx(4 * honest.pairwise_temperature, rel=1e-3)
    assert fitted.tie_margin == pytest.approx(honest.tie_margin, abs=1e-6)
    assert fitted.pairwise_rows == 300 * 2 * 7
    assert fitted.pointwise_rows == 300 * 2 * 5


def test_blank_pictures_do_not_count(simulate):
    records = simulate(60)
    only = [record for record in records if record.place.condition == "right"]
    assert fit(records) == fit(only)


def test_a_calibration_reads_back(tmp_path):
    path = tmp_path / "calibration.json"
    written = Calibration(1.5, 0.8, 0.25, 300, 200, ("ab" * 32,))
    calibration.save(written, path)
    assert calibration.load(path) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"fitted_on": [], "margin": 1}',
        '{"fitted_on": [], "tie_margin": -1}',
        '{"fitted_on": [], "pairwise_temperature": 0}',
        '{"fitted_on": [], "pairwise_temperature": "2"}',
    ],
)
def test_what_is_no_calibration_is_named(tmp_path, text):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"calibration\.json"):
        calibration.load(path)


def test_too_few_rows_are_refused(simulate):
    with pytest.raises(InputError, match="too few"):
        fit(simulate(2))


def test_bins_are_sklearns():
    rng = np.random.default_rng(4)
    confidence = rng.uniform(0, 1, 1000)
    hit = (rng.random(1000) < confidence**2) * 1.0
    found = reliability(confidence, hit, np.arange(1000))
    accuracy, mean_confidence = calibration_curve(hit, confidence, n_bins=N_BINS)
    filled = found.count > 0
    assert found.accuracy[filled] == pytest.approx(accuracy)
    assert found.confidence[filled] == pytest.approx(mean_confidence)
    by_hand = (np.abs(accuracy - mean_confidence) * found.count[filled]).sum() / 1000
    assert found.error.value == pytest.approx(by_hand)
    assert found.error.low < by_hand < found.error.high


def test_a_calibrated_critic_shows_an_error_near_the_floor_and_an_overconfident_one_above():
    rng = np.random.default_rng(9)
    confidence = rng.uniform(0.4, 1, 2000)
    honest = reliability(confidence, (rng.random(2000) < confidence) * 1.0, np.arange(2000))
    boastful = reliability(confidence, (rng.random(2000) < confidence - 0.2) * 1.0, np.arange(2000))
    assert honest.error.value < 2 * honest.floor
    assert boastful.error.value == pytest.approx(0.2, abs=0.03)
    assert boastful.error.low > boastful.floor


def test_full_confidence_falls_into_the_last_bin():
    assert calibration_error(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == 0.5
    assert reliability(np.array([1.0, 0.0]), np.ones(2), np.arange(2)).count[[0, -1]].tolist() == [
        1,
        1,
    ]
