"""Every benchmark from its published layout to its number, by the commands and by hand.

The judge is the scripted critic: it prefers what says "right", ties otherwise, and scores such
responses 4 and others 2. So each number can be worked out from the data below.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmark_files import png, write_lines, write_parquet, write_png
from edgecritic.backends.scripted import History, Script
from edgecritic_bench import cli
from edgecritic_bench.protocols import cli as commands
from edgecritic_bench.protocols.registry import BENCHMARKS
from scripted_critic import scripted_critic

Numbers = Mapping[str, Mapping[str, float]]
"""By protocol and metric what must come out."""
CHECKS: dict[str, tuple[Callable[[Path], Path], Numbers]] = {}


def fixture_of(name: str, numbers: Numbers) -> Callable[..., Any]:
    """Registers what writes a benchmark's data."""

    def register(write: Callable[[Path], Path]) -> Callable[[Path], Path]:
        CHECKS[name] = write, numbers
        return write

    return register


def _named(name: str, text: str) -> dict[str, str]:
    return {"name": name, "answer": text}


def _judge_table(folder: Path, mode: str, rows: list[dict[str, Any]]) -> Path:
    """MLLM-as-a-Judge's layout."""
    for n in range(len(rows)):
        write_png(folder / "Dataset" / "image" / f"{n}.jpg")
    common = {"instruction": "What is shown?", "original_dataset": "coco"}
    lines = [
        {**common, "id": n, f"{mode}_id": n, "image_path": f"{n}.jpg", **row}
        for n, row in enumerate(rows)
    ]
    write_lines(folder / "Dataset" / "Benchmark" / f"{mode}.jsonl", lines)
    return folder


# Said 4, 4, 2, 2 of 5, 4, 2, 3: deviations 1, 1, -1, -1 and 1.5, 0.5, -1.5, -0.5, so Pearson's is
# 4 / sqrt(4 x 5).
_SCORES = {"Pearson": 2 / math.sqrt(5), "exact": 1 / 2}


@fixture_of("mllm-as-a-judge-score", {"official": _SCORES, "both-orders": _SCORES})
def judge_scores(folder: Path) -> Path:
    texts = [("right", 5), ("right", 4), ("no", 2), ("no", 3)]
    rows = [{**_named("m", text), "human": human} for text, human in texts]
    return _judge_table(folder, "score", rows)


# Right, wrong, a tie that people saw too, right; the tie drops out without ties.
@fixture_of(
    "mllm-as-a-judge-pair",
    {
        key: {"accuracy with ties": 3 / 4, "accuracy without ties": 2 / 3}
        for key in ("official", "both-orders")
    },
)
def judge_pairs(folder: Path) -> Path:
    pairs = [("right", "no", "A"), ("no", "right", "A"), ("x", "y", "C"), ("no", "right", "B")]
    rows = [
        {"answer1": _named("a", one), "answer2": _named("b", two), "human_answer": human}
        for one, two, human in pairs
    ]
    return _judge_table(folder, "pair", rows)


# BACD both times: equal to the first, and two substitutions of four letters from the second.
_ORDERS = {"normalised Levenshtein": (0 + 2 / 4) / 2}


@fixture_of("mllm-as-a-judge-batch", {"official": _ORDERS, "both-orders": _ORDERS})
def judge_batches(folder: Path) -> Path:
    answers = [_named(f"m{n}", text) for n, text in enumerate(("no", "right", "never", "none"))]
    rows = [{"answers": answers, "human_answer": human} for human in ("BACD", "ABCD")]
    return _judge_table(folder, "batch", rows)


# General 2 of 2, hallucination 1 of 2, reasoning 1 of 1.
_VL = {"macro": (1 + 1 / 2 + 1) / 3, "overall": 4 / 5}


@fixture_of(
    "vl-rewardbench",
    {
        **dict.fromkeys(("official", "lmms-eval", "vlmevalkit"), _VL),
        "both-orders": {"accuracy without ties": 4 / 5, "consistency": 1.0},
    },
)
def vl_rewardbench(folder: Path) -> Path:
    told = [
        ("VLFeedback-1", "the right one", "other", [0, 1]),
        ("wildvision_battle-2", "wrong", "right", [1, 0]),
        ("RLAIF-V-3", "right", "wrong", [0, 1]),
        ("RLAIF-V-3", "right", "wrong", [1, 0]),
        ("mathverse_4", "no", "right!", [1, 0]),
    ]
    rows = [
        {
            "id": name,
            "query": f"What is it, in {n}?",
            "response": [first, second],
            "image": {"bytes": png(), "path": None},
            "human_ranking": ranking,
            "models": ["m1", "m2"],
            "judge": "human",
            "rationale": "",
            "query_source": "",
        }
        for n, (name, first, second, ranking) in enumerate(told)
    ]
    return write_parquet(folder / "data" / "test-00000-of-00001.parquet", rows).parents[1]


# Safety 1 of 1 (bias), reasoning 0 of 1 (math), correctness 1 of 1.
@fixture_of(
    "multimodal-rewardbench",
    {
        **{key: {"overall": 2 / 3, "reasoning/math": 0.0} for key in ("official", "lmms-eval")},
        "both-orders": {"accuracy without ties": 2 / 3},
    },
)
def multimodal_rewardbench(folder: Path) -> Path:
    write_png(folder / "data" / "images" / "1.png")
    told = [
        ("pairs_1", "safety", "right", "no", "Output1"),
        ("math-vista_2", "reasoning", "right", "no", "Output2"),
        ("nocaps_3", "correctness", "no", "right", "Output2"),
    ]
    rows = [
        {
            "ID": name,
            "Text": "What is it?",
            "Image": "images/1.png",
            "Output1": first,
            "Output2": second,
            "Better": better,
            "Category": category,
        }
        for name, category, first, second, better in told
    ]
    (folder / "data" / "all_data.json").write_text(json.dumps(rows))
    return folder


# Rewards 4 over 2 but for q2's second pair (2 and 4) and q4 (alike): 3 of 5 pairs; q1 alone of
# three questions is right throughout. Both orders see a tie in q4, which is wrong.
@fixture_of(
    "mm-rlhf-rewardbench",
    {
        "official": {"ACC": 3 / 5, "ACC+": 1 / 3, "ACC, mcq": 1.0, "ACC, long": 1 / 2},
        "both-orders": {"accuracy without ties": 3 / 5},
    },
)
def mm_rlhf_rewardbench(folder: Path) -> Path:
    told = [
        ("q1", "mcq/1.png", "right", "other"),
        ("q1", "mcq/1.png", "right too", "wrong"),
        ("q2", "long/2.png", "right", "worse"),
        ("q2", "long/2.png", "bad", "right"),
        ("q4", "safety/4.png", "alike", "equal"),
    ]
    for _, path, *_ in told:
        write_png(folder / "images" / path)
    common = {"prompt": "What happens?", "chosen_reason": "", "rejected_reason": ""}
    rows = [
        {**common, "id": name, "image": path, "chosen": chosen, "rejected": rejected}
        for name, path, chosen, rejected in told
    ]
    return write_lines(folder / "mm_reward_bench.jsonl", rows).parent


# Wrong on the third vote alone, of four decided ones and a tie. By votes z has won 2.5 of 4, y 1.5
# of 3, x 1 of 3; by the critic x 2 of 3, y 1.5 of 3, z 1.5 of 4: the ranking is turned round.
_VOTES = {"accuracy with ties": 4 / 5, "accuracy without ties": 3 / 4, "Kendall tau of Elo": -1.0}


@fixture_of("wildvision-battles", {"official": _VOTES, "both-orders": _VOTES})
def wildvision_battles(folder: Path) -> Path:
    right, wrong = "the right one", "another"
    told = [
        ("x", "y", "model_a", right, wrong),
        ("y", "z", "model_a", right, wrong),
        ("z", "x", "model_a", wrong, right),
        ("z", "y", "tie (bothbad)", wrong, wrong),
        ("x", "z", "model_b", wrong, right),
    ]
    rows = [
        {
            "question_id": str(n),
            "model_a": a,
            "model_b": b,
            "conversation_a": _talk(said_a),
            "conversation_b": _talk(said_b),
            "language": "English",
            "image": {"bytes": png(), "path": None},
            "turn": 1,
            "winner": winner,
        }
        for n, (a, b, winner, said_a, said_b) in enumerate(told)
    ]
    return write_parquet(folder / "battles.parquet", rows)


def _talk(answer: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": answer},
    ]


def _own(name: str, verdict: object, *responses: str, split: str = "test") -> dict[str, Any]:
    setting = "pairwise" if len(responses) > 1 else "pointwise"
    return {
        "id": name,
        "setting": setting,
        "images": ["a.png"],
        "question": "What is it?",
        "responses": list(responses),
        "verdict": verdict,
        "split": split,
    }


# Of the held-out pairs the first is right. Said 4, 2, 4 of 9, 3, 6: deviations 1, -2, 1 (over 3/2)
# and 3, -3, 0, so Pearson's is 9 / sqrt(6 x 18).
_HELD_OUT = {"pairwise: accuracy without ties": 1 / 2, "pointwise: Pearson": math.sqrt(3) / 2}


@fixture_of("critic-113k", {"both-orders": _HELD_OUT})
def critic_113k(folder: Path) -> Path:
    write_png(folder / "a.png")
    rows = [
        _own("p1", "first", "right", "wrong"),
        _own("p2", "first", "wrong", "right", split="validation"),
        # What was trained on does not count.
        _own("p3", "first", "wrong", "right", split="train"),
        _own("s1", 9, "right"),
        _own("s2", 3, "no", split="validation"),
        _own("s3", 6, "right"),
        _own("s4", 1, "right", split="train"),
    ]
    return write_lines(folder / "rows.jsonl", rows).parent


# With the rows of train: one pair of three. Pearson of 4, 2, 4, 4 and 9, 3, 6, 1: deviations
# 1, -3, 1, 1 (over 2) and 17, -7, 5, -15 (over 4): 28 / sqrt(12 x 588).
@fixture_of(
    "rows",
    {
        "both-orders": {
            "pairwise: accuracy without ties": 1 / 3,
            "pointwise: Pearson": 28 / math.sqrt(12 * 588),
        }
    },
)
def rows_of_ones_own(folder: Path) -> Path:
    return critic_113k(folder) / "rows.jsonl"


# The critic does not look, so of twin pictures it gets one.
@fixture_of("embedded-splits", {"both-orders": {"pairwise: accuracy without ties": 1 / 2}})
def embedded_splits(folder: Path) -> Path:
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
    for side in "ab":
        write_png(folder / "T0" / "images" / f"{side}.png")
    return write_lines(folder / "T0" / "items.jsonl", [item]).parents[1]


def four_or_two(script: Script) -> Script:
    """Levels that rubrics of five have, too."""

    def played(history: History) -> Mapping[int, float]:
        said = script(history)
        if said.keys() == {ord("9"), ord("2")}:
            return {ord("4"): said[ord("9")], ord("2"): said[ord("2")]}
        return said

    return played


def test_every_benchmark_and_protocol_has_its_dry_run():
    assert CHECKS.keys() == BENCHMARKS.keys()
    for name, (_, numbers) in CHECKS.items():
        assert numbers.keys() == set(BENCHMARKS[name].protocols)


@pytest.mark.parametrize("name", CHECKS)
def test_from_the_published_layout_to_the_number(name, tmp_path, monkeypatch):
    monkeypatch.setattr(
        commands.Critic, "load", lambda *_, **__: scripted_critic(around=four_or_two)
    )
    monkeypatch.setattr(commands, "find_bundle", lambda name: None)
    write, numbers = CHECKS[name]
    data = write(tmp_path / "data")
    replies, facts = tmp_path / "replies.jsonl", tmp_path / "facts.json"
    assert cli.main(["run", name, str(data), "--out", str(replies)]) == 0
    for protocol, expected in numbers.items():
        words = ["score", name, str(data), f"ours={replies}", "--protocol", protocol]
        assert cli.main([*words, "--json", str(facts), "--out", str(tmp_path / "page.md")]) == 0
        told = json.loads(facts.read_text())["scores"]["ours"]
        assert told["protocol"] == protocol
        for metric, value in expected.items():
            assert told["metrics"][metric]["value"] == pytest.approx(value, abs=1e-6), metric
        assert f"Protocol `{protocol}`" in (tmp_path / "page.md").read_text()
