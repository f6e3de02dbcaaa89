"""Corrections of scores: what must hold by algebra, and biases of simulated critics."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression
from scipy.special import logsumexp

from edgecritic import Bundle, InputError
from edgecritic.judging.results import pointwise_verdict
from edgecritic.manifest import Calibration
from edgecritic.score_calibration import ScoreCalibration
from edgecritic_bench import cli
from edgecritic_bench.protocols.rows import ScoreRow
from edgecritic_bench.recalibration import cli as commands
from edgecritic_bench.recalibration.bundle import write_calibrated
from edgecritic_bench.recalibration.fit import (
    LabelledScores,
    conformal_width,
    fit_bias,
    fit_pairs,
    fit_scores,
    scored,
    whole_rubrics,
)
from edgecritic_bench.recalibration.monotone import isotonic_knots
from scripted_critic import scripted_critic
from simulated_ladder import write_rows

LEVELS = np.arange(1, 11)


def simulated(n: int, shift: float = 0.0, squeeze: float = 1.0, seed: int = 0) -> LabelledScores:
    """A critic whose scores are `squeeze` times as far from 5.5 as they should be, and `shift`."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(1, 11, n).astype(np.float64)
    centre = 5.5 + squeeze * (gold - 5.5) + shift + rng.normal(0, 0.7, n)
    raw = -0.5 * ((LEVELS[None, :] - centre[:, None]) / 0.9) ** 2
    log_probs = raw - logsumexp(raw, axis=1, keepdims=True)
    return LabelledScores(1, 10, log_probs, gold, np.arange(n))


def error(rows: LabelledScores, temperature: float, calibration: ScoreCalibration | None) -> float:
    return float(np.abs(scored(rows, temperature, calibration)[0] - rows.gold).mean())


@given(
    st.lists(
        st.tuples(st.floats(1, 10), st.floats(1, 10)),
        min_size=1,
        max_size=60,
        unique_by=lambda p: p[0],
    ),
    st.integers(1, 12),
)
@settings(max_examples=60)
def test_a_monotone_map_never_turns_scores_round(points, least):
    raw, gold = np.array(points).T
    knots = isotonic_knots(raw, gold, least)
    x, y = np.array(knots).T
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) > -1e-12).all()
    assert raw.min() - 1e-9 <= x[0]
    assert x[-1] <= raw.max() + 1e-9
    if least == 1:  # the steps are those of scipy's isotonic regression
        order = np.argsort(raw)
        steps = isotonic_regression(gold[order]).x
        np.testing.assert_allclose(sorted(set(np.round(y, 9))), sorted(set(np.round(steps, 9))))


def test_a_bias_makes_levels_as_frequent_as_gold_and_is_held_near_nothing():
    rows = simulated(4000)
    crooked = replace(rows, log_probs=rows.log_probs + np.linspace(2, -2, 10))
    bias = np.array(fit_bias(crooked, 1.0))
    np.testing.assert_allclose(np.diff(bias), 4 / 9, atol=0.15)
    few = crooked.where(rows.item < 10)
    assert np.abs(fit_bias(few, 1.0)).max() < np.abs(bias).max()
    assert sum(fit_bias(few, 1.0)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [60, 100])
def test_what_a_critic_always_does_is_undone(n):
    other = simulated(2000, shift=1.2, squeeze=0.7, seed=9)
    fitted = fit_scores(simulated(n, shift=1.2, squeeze=0.7), 0.9)
    before, after = error(other, 1.0, None), error(other, fitted.temperature, fitted.calibration)
    assert fitted.kept
    assert after < 0.8 * before


def test_what_does_not_help_is_left_out():
    kept = [fit_scores(simulated(60, seed=seed), 0.9).kept for seed in range(8)]
    # An unbiased critic has nothing to gain; chance may let a correction through now and then.
    assert sum(map(len, kept)) <= 8
    fitted = fit_scores(simulated(60, seed=3), 0.9)
    assert error(simulated(2000, seed=8), fitted.temperature, fitted.calibration) < 0.75


def test_a_temperature_is_kept_only_where_scores_gain_by_it():
    rows = simulated(120, seed=5)
    dull = replace(rows, log_probs=rows.log_probs / 4)
    fitted = fit_scores(dull, 0.9)
    assert "temperature" in fitted.kept
    assert fitted.temperature < 0.35
    # Too sure of levels that are right on average: softer ones are likelier, and their means go
    # to the rubric's middle, away from gold's.
    centre = np.where(np.arange(120) % 2, 8.0, 3.0)
    gold = centre + np.where(np.arange(120) % 4 < 2, 2.0, -2.0)
    raw = -3.0 * np.abs(LEVELS[None, :] - centre[:, None])
    ends = LabelledScores(1, 10, raw - logsumexp(raw, axis=1, keepdims=True), gold, np.arange(120))
    kept = fit_scores(ends, 0.9, before=0.9)
    assert "temperature" not in kept.kept
    assert kept.temperature == 0.9


def test_a_temperature_that_the_rows_do_not_settle_is_not_taken():
    """Where every row is right, the sharper the likelier, without an end."""
    rows = simulated(80)
    flawless = replace(rows, gold=rows.log_probs.argmax(axis=1) + 1.0)
    fitted = fit_scores(flawless, 0.9, before=1.3)
    assert "temperature" not in fitted.kept
    assert fitted.temperature == 1.3
    rng = np.random.default_rng(0)
    leads = rng.normal(0, 2, 80)
    raw = np.stack([leads / 2, -leads / 2, np.full(80, -3.0)], axis=1)
    log_probs = raw - logsumexp(raw, axis=1, keepdims=True)
    gold = np.where(leads > 0, 0, 1)
    assert fit_pairs(log_probs, gold, np.arange(80), before=1.3)[0] == 1.3


def test_a_temperature_of_pairs_has_to_help_on_other_items():
    rng = np.random.default_rng(1)
    leads = rng.normal(0, 2, 400)
    raw = np.stack([leads / 2, -leads / 2, np.full(400, -9.0)], axis=1)
    honest = raw - logsumexp(raw, axis=1, keepdims=True)
    gold = np.where(rng.random(400) < np.exp(honest[:, 0]), 0, 1)
    sure = 3 * honest - logsumexp(3 * honest, axis=1, keepdims=True)
    items = np.arange(400)
    assert fit_pairs(sure, gold, items)[0] == pytest.approx(3, rel=0.3)
    # What is right already stays, as near as chance lets it.
    assert fit_pairs(honest, gold, items, before=1.0)[0] == pytest.approx(1, rel=0.3)
    # All rows of one item leave none to try it on.
    assert fit_pairs(sure, gold, np.zeros(400, dtype=np.int64))[0] == 1.0


def test_rows_come_from_as_many_items_as_there_are(tmp_path):
    data = str(write_rows(tmp_path / "data", 40))
    for most, of_each in ((40, 1), (70, 2), (1000, 4)):
        rows = commands._rows([data], most, 0)
        scores = [row for row in rows if isinstance(row, ScoreRow)]
        assert len(scores) == min(most, 160)
        items = Counter(row.item for row in scores)
        assert max(items.values()) == of_each
        assert len(items) >= min(40, most // of_each)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_intervals_hold_as_much_gold_as_promised(coverage):
    """Over many drawings of labelled rows: the promise is about those, too."""
    other = simulated(800, shift=0.8, seed=99)
    inside = []
    for seed in range(60):
        fitted = fit_scores(simulated(60, shift=0.8, seed=seed), coverage, seed)
        calibration = fitted.calibration
        scores, probabilities = scored(other, fitted.temperature, calibration)
        ends = [calibration.interval(s, p) for s, p in zip(scores, probabilities, strict=True)]
        low, high = np.array(ends).T
        assert ((low >= 1) & (high <= 10) & (low <= scores) & (scores <= high)).all()
        inside.append(((low <= other.gold) & (other.gold <= high)).mean())
    # Thirty rows promise the coverage and at most one rank in thirty-one more, on average.
    assert coverage - 0.03 <= np.mean(inside) <= coverage + 0.06


def test_too_few_rows_are_refused_before_they_are_judged(tmp_path):
    data = write_rows(tmp_path / "data", 8)
    out = tmp_path / "calibrated"
    with pytest.raises(InputError, match="are too few to fit on"):
        cli.main(["calibrate", "--bundle", "embedded", "--data", str(data), "--out", str(out)])
    assert not out.exists()


@pytest.mark.parametrize("mixed", ["data", "test"])
def test_scores_on_several_rubrics_are_refused_before_they_are_judged(tmp_path, mixed):
    files = {name: write_rows(tmp_path / name, 20) for name in ("data", "test")}
    lines = [json.loads(line) for line in files["test"].read_text().splitlines()]
    for line in lines:  # other items, so that nothing of it was fitted on
        line |= {key: f"other {line[key]}" for key in ("id", "group", "question")}
    files["test"].write_text("".join(json.dumps(line) + "\n" for line in lines))
    lines = [json.loads(line) for line in files[mixed].read_text().splitlines()]
    scored = next(line for line in lines if line["setting"] == "pointwise")
    scored |= {"rubric": {"low": 0, "high": 100}}
    files[mixed].write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "calibrated"
    words = ["calibrate", "--bundle", "embedded", "--data", str(files["data"]), "--out", str(out)]
    with pytest.raises(InputError, match=r"several rubrics: 0-100, 1-10"):
        cli.main([*words, "--test", str(files["test"])])
    assert not out.exists()


def test_too_few_rows_promise_nothing():
    with pytest.raises(InputError, match="too few"):
        fit_scores(simulated(49), 0.9)
    with pytest.raises(InputError, match="99% take 99") as caught:
        fit_scores(simulated(60), 0.99)
    assert "198 rows" in caught.value.hint
    with pytest.raises(InputError, match="between 0 and 1"):
        fit_scores(simulated(60), 90)
    with pytest.raises(InputError, match="several rubrics: 1-5, 1-10"):
        whole_rubrics([(1, 10), (1, 5)])
    held = simulated(9)
    assert conformal_width(held, 1.0, ScoreCalibration(1, 10), 0.9) > 0


def test_the_runtime_computes_what_the_bench_fitted():
    rows = simulated(80, shift=1.0)
    fitted = fit_scores(rows, 0.9)
    calibration = Calibration(pointwise_temperature=fitted.temperature, scores=fitted.calibration)
    scores, probabilities = scored(rows, fitted.temperature, fitted.calibration)
    for n in range(0, 80, 9):
        verdict = pointwise_verdict(rows.log_probs[n], range(1, 11), calibration)
        assert verdict.score == pytest.approx(scores[n])
        np.testing.assert_allclose(list(verdict.probabilities.values()), probabilities[n])
        assert verdict.interval == pytest.approx(
            fitted.calibration.interval(scores[n], probabilities[n])
        )
        assert verdict.mass == pytest.approx(1)


def test_a_bundle_is_calibrated_by_the_command(tmp_path, monkeypatch, capsys):
    data = write_rows(tmp_path / "data", 40)
    lines = [json.loads(line) for line in data.read_text().splitlines()]
    # The scripted critic says 9 or 2; gold says 7 and 4.
    for number, line in enumerate(lines):
        right = line["setting"] == "pointwise" and "correct" in line["responses"][0]
        line["responses"] = [r.replace("correct", "right") for r in line["responses"]]
        if line["setting"] == "pointwise":
            line["verdict"] = 7 - number % 2 if right else 4
    data.write_text("".join(json.dumps(line) + "\n" for line in lines[:140]))
    test = tmp_path / "data" / "test.jsonl"
    test.write_text("".join(json.dumps(line) + "\n" for line in lines[140:]))
    monkeypatch.setattr(commands.Critic, "load", lambda *_, **__: scripted_critic())
    out = tmp_path / "calibrated"
    bundle = Bundle.embedded()
    monkeypatch.setattr(commands.Bundle, "embedded", lambda: bundle)
    words = ["calibrate", "--bundle", "embedded", "--data", str(data), "--out", str(out)]
    assert cli.main([*words, "--rows", "80", "--test", str(test)]) == 0
    told = capsys.readouterr()
    stored = json.loads(told.out)
    assert stored["scores"]["rows"] == 80
    assert len(stored["scores"]["fingerprint"]) == 64
    read = Bundle.read(out).manifest
    assert read.calibration.to_dict() == stored
    assert read.files == bundle.manifest.files
    knots = np.array(read.calibration.scores.knots)
    assert knots[:, 1].min() == pytest.approx(4, abs=0.3)
    assert "before" in told.err
    assert "gold in its 90% interval" in told.err
    # What was judged is kept; a second fit is the same.
    assert cli.main([*words, "--rows", "80"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == stored
    with pytest.raises(InputError, match="fitted on"):
        cli.main([*words, "--rows", "1000", "--test", str(data)])
    with pytest.raises(InputError, match="no labelled rows"):
        cli.main(["calibrate", "--bundle", "embedded", "--out", str(out)])
    with pytest.raises(InputError, match="nothing to fit on"):
        cli.main(["calibrate", "--out", str(out)])


def test_a_calibration_can_be_written_in_place(tmp_path: Path):
    bundle = write_calibrated(Bundle.embedded(), Calibration(), tmp_path / "a")
    fitted = ScoreCalibration(1, 10, width=1.5, fingerprint="0" * 64)
    again = write_calibrated(bundle, Calibration(scores=fitted), tmp_path / "a")
    assert again.manifest.calibration.scores == fitted
    assert again.folder == bundle.folder
