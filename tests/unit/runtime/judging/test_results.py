"""Numbers to judgements: extremes that no engine shows often."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.debias import reconcile, winner
from edgecritic.errors import VerdictParseError
from edgecritic.judging.results import pointwise_verdict, preference
from edgecritic.manifest import Calibration
from edgecritic.scoring import OutcomeTrie, log_softmax, normalise

PLAIN = Calibration()
log_probs = st.lists(st.floats(-20, 0), min_size=3, max_size=3).map(
    lambda some: normalise(np.array(some)).log_probs
)


def test_no_possible_outcome_is_no_verdict() -> None:
    verdict = pointwise_verdict(np.full(3, -np.inf), range(3), PLAIN)
    assert (verdict.status, verdict.mass) == ("unparsed", 0)


def test_a_sure_verdict_is_exactly_its_level() -> None:
    joint = np.full(10, -np.inf)
    joint[9] = 0.0
    verdict = pointwise_verdict(joint, range(1, 11), PLAIN)
    assert (verdict.score, verdict.level, verdict.confidence) == (10, 10, 1)


@given(st.lists(st.floats(-700, 0), min_size=2, max_size=101), st.floats(0.05, 20))
def test_the_score_never_leaves_the_range(joint: list[float], temperature: float) -> None:
    levels = range(3, 3 + len(joint))
    values = np.array(joint) - np.logaddexp.reduce(joint)
    verdict = pointwise_verdict(values, levels, Calibration(pointwise_temperature=temperature))
    assert verdict.score is not None
    assert levels[0] <= verdict.score <= levels[-1]


def test_orders_that_rule_each_other_out_are_unparsed() -> None:
    sure_of_first = np.array([0.0, -np.inf, -np.inf])
    judged = preference({"first": sure_of_first, "second": sure_of_first}, PLAIN)
    assert (judged.status, judged.winner, judged.consistent) == ("unparsed", None, False)
    assert len(judged.orders) == 2


@given(first=log_probs, second=log_probs, bias=st.floats(-5, 5))
def test_a_bias_towards_a_position_cancels_out(
    first: np.ndarray, second: np.ndarray, bias: float
) -> None:
    shift = np.array([bias, -bias, 0])
    plain = reconcile([first, second])
    # The first place is the caller's first response in one order and the second in the other.
    biased = reconcile([first + shift, second - shift])
    np.testing.assert_allclose(biased, plain, atol=1e-9)


def test_a_lead_inside_the_margin_is_a_tie() -> None:
    close = np.log([0.45, 0.40, 0.15])
    assert winner(close, 0.0) == "first"
    assert winner(close, 0.2) == "tie"
    assert winner(np.log([0.2, 0.3, 0.5]), 0.0) == "tie"
    assert winner(np.array([-1.0, -1.0, -2.0]), 0.0) == "tie"
    assert winner(np.log([0.1, 0.8, 0.1]), 0.2) == "second"


def test_the_margin_decides_the_whole_preference() -> None:
    close = np.log([0.45, 0.40, 0.15])
    judged = preference({"first": close}, Calibration(tie_margin=0.2))
    assert (judged.winner, judged.orders[0].winner) == ("tie", "first")
    assert judged.confidence == pytest.approx(0.15)


def test_infinite_logits_are_no_probabilities() -> None:
    with np.errstate(all="raise", invalid="ignore"):
        assert np.isnan(log_softmax(np.array([np.inf, 0], dtype=np.float32))).any()
        assert np.isnan(log_softmax(np.array([-np.inf, -np.inf], dtype=np.float32))).all()
    np.testing.assert_allclose(log_softmax(np.array([0, -np.inf], dtype=np.float32)), [0, -np.inf])


def test_a_thousand_levels_are_laid_out_quickly() -> None:
    answers = [f"Score: {level}\n".encode() for level in range(1001)]
    trie = OutcomeTrie.build(answers)
    assert bytes(trie.forced) == b"Score: "
    assert len(trie.paths) == 1001
    assert len(trie.nodes) == 1 + 9 + 90 + 1  # "", tens, hundreds, "100"


@pytest.mark.parametrize("answers", [[b"same", b"same"], [b"1", b"10"], [b"a", b"1", b"10"]])
def test_answers_that_no_logits_can_tell_apart(answers: list[bytes]) -> None:
    with pytest.raises(VerdictParseError):
        OutcomeTrie.build(answers)


@given(st.lists(st.floats(-30, 30), min_size=128, max_size=128))
def test_joint_probabilities_are_products_along_the_paths(logits: list[float]) -> None:
    trie = OutcomeTrie.build([f"Score: {level};".encode() for level in (1, 2, 10, 11)])
    assert [bytes(node) for node in trie.nodes] == [b"", b"1"]
    first = np.array(logits, dtype=np.float32)
    second = first[::-1].copy()
    found = trie.log_probs([first, second])
    p, q = np.exp(log_softmax(first)), np.exp(log_softmax(second))
    one = p[ord("1")]
    expected = [one * q[ord(";")], p[ord("2")], one * q[ord("0")], one * q[ord("1")]]
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-9)
    assert np.exp(found).sum() <= 1 + 1e-9
