"""Multimodal RewardBench, MM-RLHF-RewardBench and WildVision, worked out by hand."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from benchmark_files import png, write_lines, write_parquet, write_png
from edgecritic import InputError
from edgecritic_bench.protocols import mm_rlhf, multimodal_rewardbench, wildvision
from edgecritic_bench.protocols.importers import bench_labels, import_replies
from edgecritic_bench.protocols.replies import Reply

AREAS = [
    ("pairs_1", "safety", "Output1"),
    ("hateful_2", "safety", "Output2"),
    ("math-vista_3", "reasoning", "Output2"),
    ("emma_4", "reasoning", "Output1"),
    ("nocaps_5", "correctness", "Output2"),
]


@pytest.fixture
def rewardbench(tmp_path: Path):
    write_png(tmp_path / "data" / "images" / "x" / "1.png")
    rows = [
        {
            "ID": name,
            "Text": "What is it?",
            "Image": "images/x/1.png",
            "Output1": "the right thing" if better == "Output1" else "something else",
            "Output2": "the right thing" if better == "Output2" else "something else",
            "Better": better,
            "Category": category,
        }
        for name, category, better in AREAS
    ]
    (tmp_path / "data" / "all_data.json").write_text(json.dumps(rows))
    return multimodal_rewardbench.load(tmp_path)


def test_rewardbench_rows_are_read(rewardbench):
    assert [r.category for r in rewardbench] == [
        *("safety/bias", "safety/toxicity", "reasoning/math", "reasoning/coding", "correctness")
    ]
    assert rewardbench[0].images[0].is_file()
    assert [r.gold for r in rewardbench] == ["first", "second", "second", "first", "second"]


def test_coins_are_seeded_once_by_the_authors_and_for_each_row_by_lmms_eval(rewardbench):
    texts = ["[[A]]", "no idea", "well", "[[B]] rather than [[A]]", "hm"]
    replies = [Reply(r.key, text=t) for r, t in zip(rewardbench, texts, strict=True)]
    # Seed 123 gives 0.05, 0.09, 0.41: heads, which is A, three times.
    assert [random.Random(123).random() < 0.5] == [True]
    rng = random.Random(123)
    assert [rng.random() < 0.5 for _ in range(3)] == [True] * 3
    for protocol in ("official", "lmms-eval"):
        found = multimodal_rewardbench.score(rewardbench, replies, protocol)
        # Right: the first; A wins over B in the fourth, and that is right. A is wrong elsewhere.
        assert [hit.value for hit in found.hits] == [1, 0, 0, 1, 0]
        assert found.metrics["overall"].value == pytest.approx(2 / 5)
        assert found.metrics["reasoning/math"].value == 0
        assert found.metrics["mean of areas"].value == pytest.approx(2 / 5)
        assert found.unread == 3
    # From the fourth toss on the two part: 0.11 is heads, 0.90 is tails.
    unread = [Reply(r.key, text="") for r in rewardbench]
    official = multimodal_rewardbench.score(rewardbench, unread)
    kit = multimodal_rewardbench.score(rewardbench, unread, "lmms-eval")
    assert [hit.value for hit in kit.hits] == [1, 0, 0, 1, 0]
    assert [hit.value for hit in official.hits] == [1, 0, 0, 1, 1]


def test_rewardbench_end_to_end(rewardbench, judged, tmp_path):
    replies = judged(rewardbench)
    found = multimodal_rewardbench.score(rewardbench, replies)
    assert found.metrics["overall"].value == 1
    assert found.unread == 0
    both = multimodal_rewardbench.score(rewardbench, replies, "both-orders")
    assert both.metrics["accuracy without ties"].value == 1
    with pytest.raises(InputError, match="no protocol 'vlmevalkit'"):
        multimodal_rewardbench.score(rewardbench, replies, "vlmevalkit")
    lines = [
        {"ID": n, "Label": "A", "output": "so [[A]]", "Meta": {"Category": c}} for n, c, _ in AREAS
    ]
    path = write_lines(tmp_path / "sub.jsonl", lines)
    peers = import_replies("multimodal-rewardbench", rewardbench, path)
    assert multimodal_rewardbench.score(rewardbench, peers).metrics["overall"].value == 2 / 5


PAIRS = [
    ("q1", "image", "mcq/1.png", "the right one", "other"),
    ("q1", "image", "mcq/1.png", "right too", "wrong"),
    ("q2", "image", "long/2.png", "right", "worse"),
    ("q2", "image", "long/2.png", "bad", "right"),
    ("q3", "video", "video/long_3", "right", "wrong"),
    ("q4", "image", "safety/4.png", "alike", "equal"),
]


@pytest.fixture
def mm_rlhf_rows(tmp_path: Path):
    for name in ("mcq/1.png", "long/2.png", "safety/4.png"):
        write_png(tmp_path / "images" / name)
    for frame in range(20):
        write_png(tmp_path / "video" / "long_3" / f"{frame:04d}.png")
    rows = [
        {
            "id": name,
            kind: path,
            "prompt": "What happens?",
            "chosen": chosen,
            "rejected": rejected,
            "chosen_reason": "",
            "rejected_reason": "",
        }
        for name, kind, path, chosen, rejected in PAIRS
    ]
    return mm_rlhf.load(write_lines(tmp_path / "mm_reward_bench.jsonl", rows).parent)


def test_mm_rlhf_rows_are_read(mm_rlhf_rows):
    assert [r.key for r in mm_rlhf_rows] == ["q1", "q1~2", "q2", "q2~2", "q3", "q4"]
    assert [r.category for r in mm_rlhf_rows] == [
        *("mcq", "mcq", "long", "long", "long+video", "safety")
    ]
    frames = mm_rlhf_rows[4].images
    assert [path.name for path in frames] == [f"{n:04d}.png" for n in (0, 3, 5, 8, 11, 14, 16, 19)]
    assert mm_rlhf_rows[0].images[0].is_file()


def test_mm_rlhf_by_hand(mm_rlhf_rows, judged):
    found = mm_rlhf.score(mm_rlhf_rows, judged(mm_rlhf_rows, scored=True))
    # Right but for the second pair of q2, and for q4 with its equal rewards.
    assert [hit.value for hit in found.hits] == [1, 1, 1, 0, 1, 0]
    assert found.metrics["ACC"].value == pytest.approx(4 / 6)
    # Of four questions q1 and q3 are right throughout.
    assert found.metrics["ACC+"].value == pytest.approx(2 / 4)
    assert found.metrics["ACC, mcq"].value == 1
    # q2's two pairs and q3's one.
    assert found.metrics["ACC, long"].value == pytest.approx(2 / 3)
    assert found.metrics["ACC+, long"].value == pytest.approx(1 / 2)
    # "long" comes first in q3's path, so no pair counts for video.
    assert "ACC, video" not in found.metrics
    both = mm_rlhf.score(mm_rlhf_rows, judged(mm_rlhf_rows, scored=True), "both-orders")
    # The tie of q4 is wrong, as is the second pair of q2.
    assert both.metrics["accuracy without ties"].value == pytest.approx(4 / 6)


def test_mm_rlhf_rewards_are_imported(mm_rlhf_rows, tmp_path):
    rewards = [[1, 0], [0.5, 0.5], [2, 1], [0, -1], [1, 3], [0, 1]]
    lines = [{"id": p[0], "rewards": r} for p, r in zip(PAIRS, rewards, strict=True)]
    path = write_lines(tmp_path / "result.jsonl", lines)
    found = mm_rlhf.score(mm_rlhf_rows, import_replies("mm-rlhf", mm_rlhf_rows, path))
    # Equal rewards are no preference.
    assert [hit.value for hit in found.hits] == [1, 0, 1, 1, 0, 0]
    assert found.metrics["ACC+"].value == pytest.approx(1 / 4)


def talk(*turns: str) -> list[dict]:
    return [
        {"role": ("user", "assistant")[n % 2], "content": content}
        for n, content in enumerate(turns)
    ]


def battle(name: str, a: str, b: str, winner: str, said: tuple[str, str]) -> dict:
    return {
        "question_id": name,
        "model_a": a,
        "model_b": b,
        "conversation_a": talk("What is it?", said[0]),
        "conversation_b": talk("What is it?", said[1]),
        "language": "English",
        "image": {"bytes": png(), "path": None},
        "turn": 1,
        "winner": winner,
    }


def test_battles_by_hand(tmp_path, judged):
    right, wrong = "the right one", "another"
    rows = [
        battle("1", "x", "y", "model_a", (right, wrong)),
        battle("2", "y", "z", "model_a", (right, wrong)),
        battle("3", "z", "x", "model_a", (wrong, right)),
        battle("4", "z", "y", "tie (bothbad)", (wrong, wrong)),
        battle("5", "x", "z", "model_b", (wrong, right)),
        {**battle("6", "x", "y", "tie", (right, right)), "conversation_a": talk(*"abcd")},
    ]
    found_rows = wildvision.load_battles(write_parquet(tmp_path / "b.parquet", rows))
    # The sixth has two turns.
    assert [r.key for r in found_rows] == list("12345")
    assert found_rows[0].models == ("x", "y")
    assert found_rows[3].gold == "tie"
    found = wildvision.score_battles(found_rows, judged(found_rows))
    # Wrong only on the third, where the vote went against what is right.
    assert found.metrics["accuracy with ties"].value == pytest.approx(4 / 5)
    assert found.metrics["accuracy without ties"].value == pytest.approx(3 / 4)
    # Votes: z won 2.5 of 4, y 1.5 of 3, x 1 of 3. The critic: x 2 of 3, y 1.5 of 3, z 1.5 of 4.
    assert found.metrics["Kendall tau of Elo"].value == pytest.approx(-1)
    few = wildvision.score_battles(found_rows[:2], judged(found_rows[:2]))
    assert few.metrics["Kendall tau of Elo"].n == 0


def test_the_same_ranking_has_tau_one(tmp_path):
    votes = ["model_a"] * 3 + ["model_b"]
    rows = [
        battle(f"{a}{b}{n}", a, b, vote, ("s", "t"))
        for a, b in (("x", "y"), ("y", "z"), ("x", "z"))
        for n, vote in enumerate(votes)
    ]
    loaded = wildvision.load_battles(
        write_lines(tmp_path / "b.jsonl", [{**row, "image": None} for row in rows])
    )
    same = [Reply(r.key, winner=r.gold) for r in loaded]
    flip = {"first": "second", "second": "first"}
    reverse = [Reply(r.key, winner=flip[r.gold]) for r in loaded]
    tau = "Kendall tau of Elo"
    assert wildvision.score_battles(loaded, same).metrics[tau].value == pytest.approx(1)
    assert wildvision.score_battles(loaded, reverse).metrics[tau].value == pytest.approx(-1)


LABELS = [
    ("1", ["A>>B"]),
    ("2", ["B>A"]),
    ("3", ["[[B>>A]] says it all: [[B>>A]]"]),
    ("4", ["[[B>A]] or rather [[A>B]]"]),
    ("5", ["A=B"]),
    ("6", [None]),
]


def test_the_bench_by_three_rules():
    official = wildvision.score_bench(LABELS)
    # -100, 50, 100; an unclear text, a tie and a silence are 0.
    assert [hit.value for hit in official.hits] == [-100, 50, 100, 0, 0, 0]
    assert official.metrics["Reward"].value == pytest.approx(50 / 6)
    assert official.metrics["Win Rate"].value == pytest.approx(2 / 6)
    # Elo: strong verdicts count three times, the tie half each way: 3 + 1 + 0.5 of 8 games won.
    assert official.metrics["Score"].value == pytest.approx(100 * 4.5 / 8)
    lmms = wildvision.score_bench(LABELS, "lmms-eval")
    # The unclear text is searched, and "A>B" is looked for first: worse.
    assert [hit.value for hit in lmms.hits] == [-2, 1, 2, -1, 0, 0]
    assert lmms.metrics["raw_scores"].value == 0
    assert lmms.metrics["win_rates"].value == pytest.approx(100 * 2 / 6)
    assert lmms.metrics["elo_scores"].value == pytest.approx(100 * (2 + 2 * 0.5) / 6)
    kit = wildvision.score_bench(LABELS, "vlmevalkit")
    assert kit.metrics["Reward"].value == pytest.approx((-100 + 50 + 100) / 6)
    assert kit.unread == 2


def test_a_second_game_shows_the_model_first(tmp_path):
    # Worse in the first game, much better in the second, where it stood as A.
    games = [{"score": "A>B"}, {"score": "A>>B"}]
    path = write_lines(tmp_path / "m.jsonl", [{"question_id": "1", "games": games}])
    found = wildvision.score_bench(bench_labels(path))
    assert found.metrics["Reward"].value == -50 + 100
    assert found.metrics["Score"].value == pytest.approx(100 * 3 / 4)
    with pytest.raises(InputError, match="no judgements"):
        wildvision.score_bench([])
