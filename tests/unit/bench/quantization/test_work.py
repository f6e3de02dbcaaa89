"""Groups of rows are judged as single rows are, and one that cannot be judged stops nobody."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark_files import png
from edgecritic import Rubric
from edgecritic.vision import FeatureKey
from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.quantization import features
from edgecritic_bench.quantization.features import SharedFeatures
from edgecritic_bench.quantization.work import Group, grouped, judge_group
from scripted_critic import scripted_critic

RED, BLUE = png("red"), png("blue")


def pair(key: str, first: str, second: str, image: bytes = RED) -> PairRow:
    return PairRow(
        key=key, question="What?", images=(image,), responses=(first, second), gold="first"
    )


def score(key: str, text: str, image: bytes = RED, high: int = 10) -> ScoreRow:
    rubric = Rubric(1, high)
    return ScoreRow(
        key=key, question="What?", images=(image,), response=text, gold=3, rubric=rubric
    )


def test_rows_of_a_picture_follow_each_other():
    rows = [
        pair("a", "x", "y"),
        score("b", "x", BLUE),
        score("c", "x"),
        pair("d", "y", "x"),
        score("e", "y"),
        score("f", "y", high=5),
    ]
    found = [[row.key for row in group.rows] for group in grouped(rows)]
    assert found == [["a", "d"], ["c", "e"], ["f"], ["b"]]
    assert [len(group) for group in grouped([score(f"s{n}", f"t{n}") for n in range(70)])] == [
        32,
        32,
        6,
    ]


def test_a_group_is_judged_as_its_rows_are():
    rows = [pair("a", "right", "wrong"), pair("b", "wrong", "right"), pair("c", "wrong", "wrong")]
    scores = [score("d", "right"), score("e", "wrong")]
    with scripted_critic() as critic:
        for group in (Group(tuple(rows)), Group(tuple(scores))):
            together = list(judge_group(critic, group))
            alone = [one for row in group.rows for one in judge_group(critic, Group((row,)))]
            assert [one.row for one in together] == [row.key for row in group.rows]
            for ours, theirs in zip(together, alone, strict=True):
                assert ours.readable
                assert ours.digest == theirs.digest
                np.testing.assert_allclose(ours.log_probs, theirs.log_probs, atol=1e-9)
                assert ours.mass == pytest.approx(theirs.mass)
                assert ours.seconds > 0
        (first, second, tie), _ = next(iter(judge_group(critic, Group((rows[0],))))).log_probs
        assert first > max(second, tie)


def test_a_row_that_cannot_be_judged_says_why():
    rows = (pair("long", "right " * 3000, "wrong"), pair("good", "right", "wrong"))
    with scripted_critic() as critic:
        long, good = judge_group(critic, Group(rows))
    assert not long.readable
    assert "tokens" in long.error
    assert good.readable
    assert not good.error
    broken = score("broken", "right", b"no picture")
    with scripted_critic() as critic:
        (one,) = judge_group(critic, Group((broken,)))
    assert one.error
    assert one.log_probs == (None,)


def test_features_are_shared_by_processes(tmp_path):
    key = FeatureKey("picture", "geometry", "tower")
    features = np.arange(12, dtype=np.float32).reshape(3, 4)
    one, other = (SharedFeatures(tmp_path, 10_000, "llamacpp cpu") for _ in range(2))
    one.put(key, features)
    found = other.get(key)
    assert found is not None
    np.testing.assert_array_equal(found, features)
    assert SharedFeatures(tmp_path, 10_000, "onnx cpu").get(key) is None
    assert other.get(FeatureKey("picture", "geometry", "another tower")) is None
    # What does not fit is kept in memory alone.
    full = SharedFeatures(tmp_path, 10, "llamacpp gpu")
    full.put(key, features)
    assert full.get(key) is not None
    assert SharedFeatures(tmp_path, 10, "llamacpp gpu").get(key) is None
    # A file that was cut off is computed anew.
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(path.read_bytes()[:20])
    assert SharedFeatures(tmp_path, 10_000, "llamacpp cpu").get(key) is None


def test_a_file_that_another_arm_renames_meanwhile_stops_nobody(tmp_path, monkeypatch):
    key = FeatureKey("picture", "geometry", "tower")
    listed = features.os.scandir

    def renamed(folder):
        (tmp_path / "theirs.part").write_bytes(b"half")
        entries = list(listed(folder))
        (tmp_path / "theirs.part").unlink()
        return entries

    monkeypatch.setattr(features.os, "scandir", renamed)
    SharedFeatures(tmp_path, 10_000, "onnx cpu").put(key, np.ones((2, 3), np.float32))
    assert SharedFeatures(tmp_path, 10_000, "onnx cpu").get(key) is not None
