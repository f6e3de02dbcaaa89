"""Two engines row by row: against differences and flips that were put in by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from edgecritic import InputError
from edgecritic_bench import cli
from edgecritic_bench.features import compare_features
from edgecritic_bench.parity import Differences, compare
from edgecritic_bench.parity_page import parity_section
from edgecritic_bench.records import PairwiseRecord, PointwiseRecord, write_records
from edgecritic_bench.statistics.paired import mcnemar
from edgecritic_bench.tables import log_softmax


def shaken(records, scale: float):
    """The same records with noise of a known size on every log-prob."""
    rng = np.random.default_rng(0)

    def noisy(values):
        return tuple(log_softmax(np.array(values) + rng.normal(0, scale, len(values))).tolist())

    return [
        replace(r, orders=tuple(noisy(order) for order in r.orders))
        if isinstance(r, PairwiseRecord)
        else replace(r, log_probs=noisy(r.log_probs))
        for r in records
    ]


def test_an_engine_equals_itself(simulate):
    records = simulate(10)
    found = compare(records, records[::-1])
    assert found.pairwise is not None
    assert found.pairwise.max == 0
    assert found.same_winner.value == found.same_level.value == 1
    assert found.score_difference == 0
    assert (found.flips.lost, found.flips.won, found.flips.p_value) == (0, 0, 1.0)
    # Pairs twice (both orders), scores once.
    assert found.rows == 10 * 2 * 2 * (2 * 7 + 5)
    assert found.missing == found.unread == 0
    assert found.pairwise_kl.value == found.pointwise_kl.value == 0
    section = parity_section(found, None, "one", "the same")
    assert "0 from wrong to right. That leaves" in section
    assert "nan" not in section


def test_differences_have_the_size_that_was_put_in(simulate):
    records = simulate(20)
    small, large = (compare(records, shaken(records, scale)) for scale in (0.01, 0.1))
    assert small.pairwise is not None
    assert large.pairwise is not None
    assert 5 < large.pairwise.mean / small.pairwise.mean < 20
    assert large.pairwise.median < large.pairwise.p95 < large.pairwise.p99 <= large.pairwise.max
    assert small.pairwise.notable < 0.01 < large.pairwise.notable
    # Divergence grows with the square of small noise.
    assert 30 < large.pairwise_kl.value / small.pairwise_kl.value < 300
    assert 30 < large.pointwise_kl.value / small.pointwise_kl.value < 300
    assert large.worst[0].difference == pytest.approx(max(large.pairwise.max, large.pointwise.max))
    assert len(large.worst) == 10
    assert large.same_winner.value < 1


def test_unlikely_outcomes_do_not_count():
    differences = Differences.of(np.array([0.0, 0.04, 0.06, 0.2]))
    assert differences.notable == 0.5
    assert differences.max == 0.2


def test_an_outcome_counts_where_one_engine_finds_it_likely(simulate):
    records = [r for r in simulate(1) if isinstance(r, PairwiseRecord)]
    sure = tuple(log_softmax(np.array([0.0, -20.0, -20.0])).tolist())
    turned = (sure[1], sure[0], sure[2])
    one = [replace(r, orders=(sure, sure)) for r in records]
    other = [replace(r, orders=(turned, turned)) for r in records]
    found = compare(one, other)
    assert found.pairwise is not None
    assert found.pairwise.n == 2 * 2 * len(records)  # first and second of both orders, never tie
    assert found.pairwise.max == pytest.approx(20, abs=1e-3)
    assert found.same_winner.value == 0


def test_flips_keep_their_direction(simulate):
    records = [
        r for r in simulate(12) if isinstance(r, PairwiseRecord) and r.place.condition == "right"
    ]
    told = {"first": (-1e-4, -9.5, -12.0), "second": (-9.5, -1e-4, -12.0)}
    told = {name: tuple(log_softmax(np.array(v)).tolist()) for name, v in told.items()}
    decided = [r for r in records if r.image_decided]
    right = [replace(r, orders=(told[r.winner],) * 2) for r in decided]
    flipped = {"first": "second", "second": "first"}
    worse = [
        replace(r, orders=(told[flipped[r.winner]],) * 2) if n < 7 else r
        for n, r in enumerate(right)
    ]
    found = compare(right, worse)
    assert (found.flips.lost, found.flips.won) == (7, 0)
    assert found.flips.n == len(decided)
    assert found.flips.p_value == pytest.approx(2 / 2**7)
    back = compare(worse, right)
    assert (back.flips.lost, back.flips.won) == (0, 7)
    assert "7 from wrong to right (exact McNemar" in parity_section(back, None, "a", "b")


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (3, 9), (12, 12), (40, 20)])
def test_mcnemar_is_scipys_binomial_test(lost, won):
    theirs = stats.binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert mcnemar(lost, won) == pytest.approx(theirs)


def test_what_only_one_engine_has_is_counted(simulate):
    records = simulate(4)
    other = [
        replace(r, log_probs=None, mass=0.0) if isinstance(r, PointwiseRecord) else r
        for r in records[5:]
    ]
    found = compare(records, other)
    assert found.missing == 5
    assert found.pointwise is None
    assert found.unread == sum(isinstance(r, PointwiseRecord) for r in other)
    with pytest.raises(InputError, match="no readable verdict in common"):
        compare(records[:5], other)


def test_the_command_writes_a_section_and_its_numbers(tmp_path, simulate, capsys):
    records = simulate(5)
    write_records(tmp_path / "torch.jsonl", records)
    write_records(tmp_path / "gguf.jsonl", shaken(records, 0.02))
    features = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
    np.save(tmp_path / "a.npy", features)
    np.save(tmp_path / "b.npy", features + np.float32(1e-3))
    names = [str(tmp_path / name) for name in ("torch.jsonl", "gguf.jsonl", "a.npy", "b.npy")]
    out = tmp_path / "parity.json"
    status = cli.main(["parity", *names[:2], "--features", *names[2:], "--json", str(out)])
    assert status == 0
    printed = capsys.readouterr().out
    assert "Reference: torch.jsonl. Compared with it: gguf.jsonl" in printed
    numbers = json.loads(out.read_text())
    assert numbers["features"]["max_error"] == pytest.approx(1e-3, rel=1e-3)
    assert numbers["features"]["tokens"] == 12
    assert 0 < numbers["pairwise"]["median"] < 0.1


def test_features_are_compared_image_by_image(tmp_path):
    rng = np.random.default_rng(1)
    arrays = {"one": rng.normal(size=(4, 8)), "two": rng.normal(size=(6, 8))}
    turned = {"one": arrays["one"], "two": arrays["two"].copy()}
    turned["two"][3] *= -1
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez(tmp_path / "b.npz", **turned)
    found = compare_features(tmp_path / "a.npz", tmp_path / "b.npz")
    assert (found.images, found.tokens) == (2, 10)
    assert found.min_cosine == pytest.approx(-1)
    assert found.mean_cosine == pytest.approx(0.8)
    assert found.max_error == pytest.approx(2 * np.abs(arrays["two"][3]).max())


def test_features_that_do_not_match_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.zeros((4, 8)))
    np.savez(tmp_path / "b.npz", other=np.zeros((4, 8)))
    np.savez(tmp_path / "c.npz", one=np.zeros((5, 8)))
    (tmp_path / "d.npz").write_text("nothing")
    with pytest.raises(InputError, match="same images"):
        compare_features(tmp_path / "a.npz", tmp_path / "b.npz")
    with pytest.raises(InputError, match=r"\(4, 8\)"):
        compare_features(tmp_path / "a.npz", tmp_path / "c.npz")
    with pytest.raises(InputError, match="holds no arrays"):
        compare_features(tmp_path / "a.npz", tmp_path / "d.npz")


def test_parity_is_claimed_or_refused_in_words(simulate):
    few, many = simulate(4), simulate(120)
    refused = compare(few, few)
    # 24 decided pairs of four items: no flip among them proves little.
    assert refused.claim is not None
    assert refused.claim.standing == "refused"
    assert refused.claim.words in parity_section(refused, None, "one", "the same")
    assert compare(many, many).claim.standing == "refused"
    assert compare(many, many, margin=0.1).claim.standing == "equivalent"
    one = [r for r in few if r.place.item == few[0].place.item]
    assert compare(one, one).claim is None
