"""Two roundings of one type, held row by row to full precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgecritic_bench.quantization.results import judged_arms
from edgecritic_bench.quantization.rounding import contrasts


@pytest.fixture(scope="module")
def arms(run):
    return judged_arms(run)


def test_arms_that_differ_in_their_rounding_alone_are_compared(arms):
    (found,) = contrasts(arms)
    assert found.arms == ("gguf Q2_K", "gguf Q2_K imatrix")
    assert found.quant == "Q2_K"
    assert found.base == "gguf F16"
    by_name = {one.arm.name: one for one in arms}
    base, one, other = (by_name[name].pairs for name in (found.base, *found.arms))
    turned = [float(np.mean(arm.winner != base.winner)) for arm in (one, other)]
    assert found.changed.value == pytest.approx(turned[1] - turned[0])
    assert found.changed.n == len(base)
    # Its noise is a quarter of the other's: nearer by every measure, and clearly so.
    assert found.changed.value < 0
    assert found.kl.high < 0
    assert found.moved.high < 0


def test_the_other_way_round_the_signs_are_others(arms):
    (found,), (turned,) = contrasts(arms), contrasts((arms[0], *arms[:0:-1]))
    assert turned.arms == found.arms[::-1]
    for key in ("changed", "kl", "moved"):
        assert getattr(turned, key).value == pytest.approx(-getattr(found, key).value)


def test_what_was_weighed_alike_or_is_another_type_is_not_compared(arms):
    alike = [replace(one, arm=replace(one.arm, rounding="")) for one in arms]
    assert list(contrasts(alike)) == []
    assert list(contrasts(arms[:-1])) == []
