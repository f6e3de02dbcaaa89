"""MLLM-as-a-Judge, rows of one's own, LLaVA-Critic-113k and the embedded splits, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy import stats

from benchmark_files import as_base64, png, write_lines, write_png
from edgecritic import InputError
from edgecritic_bench.protocols import mllm_judge, rows_file, twin_sets
from edgecritic_bench.protocols.importers import import_replies
from edgecritic_bench.protocols.pairs import reconciled
from edgecritic_bench.protocols.replies import Reply

SCORED = [("right", 5, "coco"), ("right", "4", "coco"), ("bad", 2, "chart"), ("worse", 3, "chart")]


def answer(name: str, text: str) -> dict:
    return {"name": name, "answer": text}


@pytest.fixture
def judge_folder(tmp_path: Path) -> Path:
    """The layout of the repository: tables in Dataset/Benchmark, pictures in Dataset/image."""
    for number in range(4):
        write_png(tmp_path / "Dataset" / "image" / f"{number}.jpg")
    folder = tmp_path / "Dataset" / "Benchmark"
    common = {"instruction": "What is shown?", "original_dataset": "coco"}
    write_lines(
        folder / "score.jsonl",
        [
            {
                **common,
                "score_id": n,
                "id": n,
                "image_path": f"{n}.jpg",
                "original_dataset": source,
                "human": human,
                **answer("llava" if n % 2 else "gpt4", text),
            }
            for n, (text, human, source) in enumerate(SCORED)
        ],
    )
    pairs = [("right", "no", "A"), ("no", "right", "A"), ("x", "y", "C"), ("no", "right", "B")]
    write_lines(
        folder / "pair.jsonl",
        [
            {
                **common,
                "id": 0,
                "pair_id": n,
                "image_path": f"image/{n}.jpg",
                "answer1": answer("llava", one),
                "answer2": answer("gpt4", two),
                "human_answer": human,
            }
            for n, (one, two, human) in enumerate(pairs)
        ],
    )
    texts = ["no", "a right one", "never", "nothing"]
    write_lines(
        folder / "batch.jsonl",
        [
            {
                **common,
                "id": 200 + n,
                "image_path": f"image/{n}.jpg",
                "answers": [answer(f"m{i}", text) for i, text in enumerate(texts)],
                "human_answer": human,
            }
            for n, human in enumerate(["BACD", "ABCD"])
        ],
    )
    return tmp_path


def test_scores_by_hand(judge_folder, judged):
    rows = mllm_judge.load_scores(judge_folder)
    assert [r.gold for r in rows] == [5, 4, 2, 3]
    assert all(r.images[0].is_file() for r in rows)
    assert (rows[0].rubric.low, rows[0].rubric.high) == (1, 5)
    replies = [Reply(r.key, level=x) for r, x in zip(rows, [4.6, 4.4, 1.2, 3.0], strict=True)]
    found = mllm_judge.score(rows, replies)
    expected = stats.pearsonr([4.6, 4.4, 1.2, 3.0], [5, 4, 2, 3]).statistic
    assert found.metrics["Pearson"].value == pytest.approx(expected)
    assert found.metrics["MAE"].value == pytest.approx((0.4 + 0.4 + 0.8 + 0) / 4)
    # Rounded: 5, 4, 1, 3 against 5, 4, 2, 3.
    assert found.metrics["exact"].value == pytest.approx(3 / 4)
    assert found.metrics["within 1"].value == 1
    # Two data sets of two rows each, both in the right order.
    assert found.metrics["Pearson, mean over categories"].value == pytest.approx(1)
    # gpt4 has 4.6 and 1.2 (mean 2.9), llava 4.4 and 3 (3.7); people say 3.5 both times: no ranking.
    assert found.metrics["rank tau of models"].n == 0
    whole = mllm_judge.score(rows, judged(rows))
    assert whole.rows == 4
    lost = [*replies[:3], Reply(rows[3].key)]
    assert mllm_judge.score(rows, lost).unread == 1


def test_pairs_by_hand(judge_folder, judged):
    rows = mllm_judge.load_pairs(judge_folder)
    assert [r.key for r in rows] == ["pair-0", "pair-1", "pair-2", "pair-3"]
    replies = judged(rows)
    for protocol in ("official", "both-orders"):
        found = mllm_judge.score(rows, replies, protocol)
        # Right, wrong, a tie that people saw too, right.
        assert found.metrics["accuracy with ties"].value == pytest.approx(3 / 4)
        assert found.metrics["accuracy without ties"].value == pytest.approx(2 / 3)
        assert found.metrics["consistency"].value == 1
    with pytest.raises(InputError, match="rows of no mode, or of several"):
        mllm_judge.score([*rows, *mllm_judge.load_scores(judge_folder)], replies)


def test_batches_by_hand(judge_folder, judged, tmp_path):
    rows = mllm_judge.load_batches(judge_folder)
    assert rows[0].gold == (1, 0, 2, 3)
    found = mllm_judge.score(rows, judged(rows))
    # The critic puts B first and leaves the rest as it is: BACD, equal to the first, and two
    # substitutions of four letters away from the second.
    assert found.metrics["normalised Levenshtein"].value == pytest.approx((0 + 2 / 4) / 2)
    assert found.metrics["exact"].value == pytest.approx(1 / 2)
    assert found.metrics["best found"].value == pytest.approx(1 / 2)
    lines = [{"mllm_judge": "DCAB"}, {"mllm_judge": "I cannot"}]
    path = write_lines(tmp_path / "batch_gpt.jsonl", lines)
    peer = mllm_judge.score(rows, import_replies("mllm-judge", rows, path))
    # DCAB becomes BACD in four edits, as it keeps no two letters in order but one; unread is 1.
    assert peer.metrics["normalised Levenshtein"].value == pytest.approx((4 / 4 + 1) / 2)
    assert peer.unread == 1


def test_others_scores_and_pairs_are_imported(judge_folder, tmp_path):
    rows = mllm_judge.load_scores(judge_folder)
    lines = [{"mllm_judge": said} for said in ("5", 4, "7", "no score")]
    replies = import_replies("mllm-judge", rows, write_lines(tmp_path / "s.jsonl", lines))
    assert [r.level for r in replies] == [5, 4, None, None]
    pairs = mllm_judge.load_pairs(judge_folder)
    lines = [{"mllm_judge": said} for said in ("A", "[[B]]", "C", "D")]
    replies = import_replies("mllm-judge", pairs, write_lines(tmp_path / "p.jsonl", lines))
    assert [r.winner for r in replies] == ["first", "second", "tie", None]
    path = write_lines(tmp_path / "long.jsonl", [{"mllm_judge": "A"}] * 5)
    with pytest.raises(InputError, match="of row 4, and the benchmark has 4"):
        import_replies("mllm-judge", pairs, path)
    with pytest.raises(InputError, match="no format 'excel'"):
        import_replies("excel", pairs, tmp_path / "p.jsonl")


def test_orders_that_disagree_are_a_tie():
    given, swapped = Reply("a", winner="first"), Reply("a", "swapped", winner="second")
    assert reconciled([given, swapped]) == "tie"
    assert reconciled([given, Reply("a", "swapped", winner="first")]) == "first"
    assert reconciled([given]) == "first"
    assert reconciled([given, Reply("a", "swapped")]) is None
    assert reconciled([given, swapped, Reply("a", "both", winner="second")]) == "second"
    # Rewards beside a comparison are no order of presentation.
    assert reconciled([given, Reply("a", rewards=(1.0, 0.0))]) == "first"


OWN = [
    {
        "id": "p1",
        "setting": "pairwise",
        "images": ["cat.png"],
        "question": "What is it?",
        "responses": ["right", "wrong"],
        "verdict": "first",
        "group": "cat",
        "split": "test",
    },
    {
        "id": "p2",
        "setting": "pairwise",
        "images": [{"base64": as_base64(png("blue"))}],
        "question": "What is it?",
        "responses": ["a longer wrong text", "right"],
        "verdict": "tie",
        "source": "mine",
        "split": "train",
    },
    {
        "id": "s1",
        "setting": "pointwise",
        "question": "What is it?",
        "responses": ["right"],
        "rubric": {"low": 0, "high": 100},
        "verdict": 87.5,
        "split": "validation",
    },
    {
        "id": "o1",
        "setting": "listwise",
        "question": "What is it?",
        "responses": ["no", "right", "never"],
        "verdict": [1, 0, 2],
    },
]


def test_rows_of_ones_own_end_to_end(tmp_path, judged):
    write_png(tmp_path / "cat.png")
    path = write_lines(tmp_path / "rows.jsonl", OWN)
    rows = rows_file.load(path)
    assert rows[1].images == (png("blue"),)
    assert [r.item for r in rows] == ["cat", "p2", "s1", "o1"]
    found = rows_file.score(rows, judged(rows))
    # Of the two pairs the critic gets the first; the second is a tie for people.
    assert found.headline == "pairwise: accuracy without ties"
    assert found.metrics["pairwise: accuracy without ties"].value == 1
    assert found.metrics["pairwise: accuracy with ties"].value == pytest.approx(1 / 2)
    assert found.metrics["listwise: exact"].value == 1
    assert found.metrics["pointwise: MAE"].n == 1
    assert found.rows == 4
    # The rows that were held out when LLaVA-Critic-113k was imported.
    assert [r.key for r in rows_file.load_held_out(tmp_path)] == ["p1", "s1"]
    with pytest.raises(InputError, match="holds no rows of dev"):
        rows_file.load(path, ["dev"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "better"}, "verdict is 'better'"),
        ({"setting": "triple"}, "setting is 'triple'"),
        ({"responses": ["one"]}, "not enough values"),
        ({"question": 7}, "question is 7, not text"),
        ({"images": [3]}, "3 is no picture"),
        ({"images": [{"base64": "%"}]}, "no base64"),
        ({"setting": "pointwise", "responses": ["a"], "verdict": 11}, "11, outside 1-10"),
        ({"setting": "pointwise", "responses": ["a"], "verdict": "many"}, "could not convert"),
        ({"setting": "listwise", "verdict": [0, 2]}, "not each of 0 to 1 once"),
        ({"setting": "listwise", "verdict": [0]}, "ranks 1 of 2"),
    ],
)
def test_broken_rows_are_named(tmp_path, change, message):
    path = write_lines(tmp_path / "rows.jsonl", [OWN[3], {**OWN[0], **change}])
    with pytest.raises(InputError, match=rf"rows\.jsonl:2: .*{message}"):
        rows_file.load(path)


def test_the_embedded_splits_are_a_benchmark_too(tmp_path, judged):
    folder = tmp_path / "sets" / "T0"
    for side in "ab":
        write_png(folder / "images" / f"{side}.png")
    item = {
        "id": "T0-000000",
        "kind": "digit",
        "split": "T0",
        "question": "Which digit is this?",
        "images": ["images/a.png", "images/b.png"],
        "responses": [
            {"text": "the right 7", "scores": [10, 3], "families": ["correct", "wrong_value"]},
            {"text": "3", "scores": [3, 9], "families": ["wrong_value", "terse"]},
        ],
        "pairs": [
            {"side": 0, "first": 0, "second": 1, "winner": "first", "image_decided": True},
            {"side": 1, "first": 0, "second": 1, "winner": "second", "image_decided": True},
        ],
    }
    (folder / "items.jsonl").write_text(json.dumps(item) + "\n")
    rows = twin_sets.load(folder.parent)
    assert [r.key for r in rows] == [
        *("T0-000000/a/0-1", "T0-000000/b/0-1"),
        *("T0-000000/a/0", "T0-000000/a/1", "T0-000000/b/0", "T0-000000/b/1"),
    ]
    assert twin_sets.load(folder) == rows
    found = rows_file.score(rows, judged(rows))
    # It does not look at the picture, so it gets one of the twins.
    assert found.metrics["pairwise: accuracy without ties"].value == pytest.approx(1 / 2)
    with pytest.raises(InputError, match="cannot be read"):
        twin_sets.load(tmp_path / "sets" / "T0" / "images")


def test_the_articles_two_levels_by_hand(judge_folder):
    rows = mllm_judge.load_scores(judge_folder)
    assert [row.gold for row in rows] == [5, 4, 2, 3]
    replies = [Reply(row.key, level=level) for row, level in zip(rows, (5, 2, 3, 3), strict=True)]
    found = mllm_judge.score(rows, replies).metrics
    # gpt4 wrote the first and the third response, llava the others.
    assert found["mean score, gpt4"].value == 4
    assert found["mean gold, gpt4"].value == 3.5
    assert found["mean score, llava"].value == 2.5
    assert found["mean gold, llava"].value == 3.5
    assert found["distance of distributions, gpt4"].value == 0.5
    assert found["distance of distributions, llava"].value == 1


def test_repeated_verdicts_by_hand(judge_folder):
    rows = mllm_judge.load_pairs(judge_folder)
    said = (("first",) * 3, ("first", "second", "first"), ("tie", None, None), (None,) * 3)
    replies = [
        Reply(row.key, "given", winner=winner)
        for row, verdicts in zip(rows, said, strict=True)
        for winner in verdicts
    ]
    found = mllm_judge.score(rows, replies).metrics["repetition"]
    assert found.value == pytest.approx((1 + 2 / 3 + 1 / 3 + 0) / 4)
    once = [Reply(row.key, "given", winner="first") for row in rows]
    assert "repetition" not in mllm_judge.score(rows, once).metrics
