"""Divergence as a predictor of flips, against scipy, and what it leaves out."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from edgecritic_bench.quantization.prediction import prediction

FLIPS = [0.01, 0.03, 0.02, 0.06, 0.05, 0.05]
VERDICT = [0.1, 0.2, 0.4, 0.9, 0.5, 0.3]
TOKENS = [0.2, 0.1, 0.3, 0.5, math.nan, 0.4]


def arm(flips: float, verdict: float, token: float, role: str = "quantized") -> dict[str, Any]:
    pairs = {"changed": {"value": flips}, "kl": {"value": verdict}}
    token_kl = None if math.isnan(token) else token
    return {"arm": {"role": role, "token_kl": token_kl}, "reference": {"pairs": pairs}}


def test_it_is_spearmans_over_the_quantized_arms():
    arms = [arm(*told) for told in zip(FLIPS, VERDICT, TOKENS, strict=True)]
    found = prediction([arm(0.9, 0.0, 0.0, "runtime"), *arms])
    assert found["arms"] == 6
    assert found["verdict_kl"]["value"] == pytest.approx(stats.spearmanr(FLIPS, VERDICT)[0])
    assert found["verdict_kl"]["low"] < found["verdict_kl"]["value"] < found["verdict_kl"]["high"]
    # An arm whose export was not verified is left out of both that are compared.
    there = [k for k in range(6) if k != 4]
    for key, column in (("token_kl", TOKENS), ("verdict_kl_there", VERDICT)):
        told = stats.spearmanr([FLIPS[k] for k in there], [column[k] for k in there])[0]
        assert found[key]["value"] == pytest.approx(told)
        assert found[key]["n"] == 5


def test_few_arms_say_nothing():
    found = prediction([arm(*told) for told in zip(FLIPS[:3], VERDICT, TOKENS, strict=False)])
    assert found["arms"] == 3
    assert found["verdict_kl"]["n"] == found["token_kl"]["n"] == 0
