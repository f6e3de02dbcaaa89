"""Corrections of scores as a manifest keeps them, and what a verdict makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecritic import ArtifactError
from edgecritic.judging.results import pointwise_verdict
from edgecritic.manifest import Calibration, Manifest
from edgecritic.score_calibration import ScoreCalibration, spread
from tiny_engines import tiny_manifest

FITTED = ScoreCalibration(
    low=1,
    high=5,
    level_bias=(0.0, 0.1, -0.2, 0.3, -0.2),
    knots=((1.2, 1.5), (3.0, 2.5), (4.5, 4.9)),
    coverage=0.8,
    width=1.25,
    rows=70,
    fingerprint="ab" * 32,
)


def manifest(scores: ScoreCalibration | None) -> dict[str, Any]:
    file = {"role": "language_model", "path": "m.gguf", "sha256": "0" * 64, "size": 1, "quant": ""}
    plain = replace(tiny_manifest(), image=None, calibration=Calibration(scores=scores)).to_dict()
    return {**plain, "files": [file]}


def test_a_manifest_keeps_it_and_old_ones_stay_as_they_are():
    read = Manifest.from_dict("critic.json", manifest(FITTED))
    assert read.calibration.scores == FITTED
    old = manifest(None)
    assert set(old["calibration"]) == {
        "pointwise_temperature",
        "pairwise_temperature",
        "tie_margin",
    }
    assert Manifest.from_dict("critic.json", old).calibration.scores is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("low", 5),
        ("high", "10"),
        ("level_bias", [1.0]),
        ("level_bias", [0, 0, 0, 0, 99]),
        ("level_bias", "none"),
        ("knots", [[1, 2], [1, 3]]),
        ("knots", [[1, 3], [2, 2]]),
        ("knots", [[1, 9]]),
        ("knots", [[1]]),
        ("knots", [[1, True]]),
        ("knots", [[k / 100, 2] for k in range(100)]),
        ("coverage", 1),
        ("coverage", 0),
        ("width", -1),
        ("fingerprint", "abc"),
        ("rows", -3),
        ("extra", 1),
    ],
)
def test_what_is_no_calibration_is_refused(key, value):
    data = manifest(FITTED)
    data["calibration"]["scores"] = {**FITTED.to_dict(), key: value}
    with pytest.raises(ArtifactError, match=r"critic\.json: calibration"):
        Manifest.from_dict("critic.json", data)


@given(st.lists(st.floats(-8, 0), min_size=5, max_size=5))
@settings(max_examples=60)
def test_a_verdict_stays_within_the_rubric_and_its_interval(values):
    joint = np.array(values) - np.logaddexp.reduce(values)
    plain = pointwise_verdict(joint, range(1, 6), Calibration())
    verdict = pointwise_verdict(joint, range(1, 6), Calibration(scores=FITTED))
    assert plain.interval is None
    assert verdict.interval is not None
    assert verdict.score is not None
    low, high = verdict.interval
    assert 1 <= low <= verdict.score <= high <= 5
    assert sum(verdict.probabilities.values()) == pytest.approx(1)
    assert verdict.mass == pytest.approx(plain.mass)
    assert verdict.to_dict()["interval"] == [low, high]
    bias_only = pointwise_verdict(
        joint, range(1, 6), Calibration(scores=replace(FITTED, knots=(), width=0.0))
    )
    assert bias_only.interval is None
    wanted = np.exp(joint + np.array(FITTED.level_bias))
    np.testing.assert_allclose(list(bias_only.probabilities.values()), wanted / wanted.sum())


def test_another_rubric_is_left_as_it_is():
    joint = np.log(np.full(10, 0.1))
    plain = pointwise_verdict(joint, range(1, 11), Calibration())
    assert pointwise_verdict(joint, range(1, 11), Calibration(scores=FITTED)) == plain


def test_the_map_is_straight_between_knots_and_flat_beyond():
    assert FITTED.mapped(0.5) == 1.5
    assert FITTED.mapped(2.1) == pytest.approx(2.0)
    assert FITTED.mapped(5.0) == 4.9
    assert replace(FITTED, knots=()).mapped(3.3) == 3.3


def test_a_score_is_never_surer_than_half_a_level():
    sure = np.eye(5)[2]
    assert spread(sure, 1) == 0.5
    assert spread(np.full(5, 0.2), 1) == pytest.approx(0.5 + 2**0.5)
    assert FITTED.interval(3.0, sure) == pytest.approx((3 - 0.625, 3 + 0.625))
