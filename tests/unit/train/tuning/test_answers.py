"""Answers are learned from the rows at the top of their scale: by a policy, and by a critic."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from edgecritic.errors import InputError
from edgecritic_train.critic_data.rows import write_rows
from edgecritic_train.tuning.answers import prepare_answers
from edgecritic_train.tuning.base import Base, open_base
from edgecritic_train.tuning.config import TuningConfig
from edgecritic_train.tuning.examples import IGNORED, PARTS, Example, weights_of
from edgecritic_train.tuning.logs import read_metrics
from edgecritic_train.tuning.prepare import prepare_rows
from edgecritic_train.tuning.sft import stage_of, train_sft
from tiny_tuning import FAMILIES, Configure, make_rows

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is deprecated and will be removed in v6:FutureWarning"
)


def quiet(_: str) -> None:
    """Nobody listens."""


def said_in(example: Example, base: Base) -> str:
    """What is learned of an answer, which the turn's end closes and no picture is in."""
    tokenizer = base.folder.tokenizer
    *said, end = example.tokens[example.parts != IGNORED].tolist()
    assert end == tokenizer.control_tokens["<|im_end|>"]
    assert base.folder.image_token not in said
    return b"".join(map(tokenizer.bytes_of, said)).decode()


@pytest.fixture
def answering(configure: Configure, tmp_path: Path) -> Configure:
    """Settings of a policy, and rows of which every other pointwise one is at the top."""
    top = [row.verdict == 9 or row.split == "validation" for row in make_rows(tmp_path)]
    rows = [
        replace(row, verdict=10) if best and row.setting == "pointwise" else row
        for row, best in zip(make_rows(tmp_path), top, strict=True)
    ]
    write_rows(tmp_path / "answers.jsonl", rows)
    changes = [f"data.train=[{tmp_path}/answers.jsonl]", "data.learn=answers"]

    def made(family: str = "llava_onevision", *assignments: str) -> TuningConfig:
        return configure(family, *changes, *assignments)

    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_and_its_end_are_learned_and_nothing_else(
    answering: Configure, family: str
) -> None:
    config = answering(family)
    base = open_base(config)
    found = prepare_answers(config, base, quiet)
    assert [row.verdict for row in found.train] == [10] * 6
    tokenizer = base.folder.tokenizer
    for row, length in zip(found.train, found.lengths, strict=True):
        example = found.maker.make(row)
        assert len(example.tokens) == length
        learned = example.parts != IGNORED
        assert {PARTS[part] for part in example.parts[learned]} == {"answer"}
        assert said_in(example, base) == row.responses[0]
        asked = b"".join(map(tokenizer.bytes_of, example.tokens[~learned].tolist()))
        assert row.question.encode() in asked
        assert row.responses[0].encode() not in asked


def test_a_policy_learns_and_its_best_adapter_is_kept(answering: Configure) -> None:
    config = answering("llava_onevision", "optimizer.epochs=6", "optimizer.learning_rate=5e-3")
    out = train_sft(config, quiet)
    lines = read_metrics(config.output)
    train = [line for line in lines if line["kind"] == "train"]
    judged = [line for line in lines if line["kind"] == "evaluation"]
    assert train[-1]["answer_loss"] < train[0]["answer_loss"] - 1
    assert not any("agreement" in line or "verdict_loss" in line for line in lines)
    summary = json.loads((out / "training.json").read_text())
    assert summary["stage"] == "answers"
    assert summary["held_out"]["eval_loss"] == min(line["loss"] for line in judged)


def test_rows_without_a_right_answer_are_refused(answering: Configure, rows: Path) -> None:
    config = answering("llava_onevision", f"data.train=[{rows}]")
    with pytest.raises(InputError, match="no right answers of the split train are left"):
        prepare_answers(config, open_base(config), quiet)


@pytest.fixture
def beside(answering: Configure, rows: Path) -> Configure:
    """Settings of a critic that learns the same answers beside its judgements."""
    answers = answering().data.train[0]
    changes = [f"data.train=[{rows}]", f"data.answers=[{answers}]", "data.learn=verdicts"]

    def made(family: str = "llava_onevision", *assignments: str) -> TuningConfig:
        return answering(family, *changes, *assignments)

    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_a_critic_s_answers_share_the_opening_of_its_judgements(
    beside: Configure, family: str
) -> None:
    config = beside(family, "data.share=true")
    base = open_base(config)
    found = prepare_rows(config, base, quiet)
    answers = [row for row in found.train if row.id.endswith(" (answer)")]
    assert len(answers) == 6
    tokenizer = base.folder.tokenizer
    openings = {}
    for row in found.train:
        example = found.maker.make(row)
        learned = example.parts != IGNORED
        taught = {PARTS[part] for part in example.parts[learned]}
        assert taught == {"answer"} if row in answers else "answer" not in taught
        if row in answers:
            assert said_in(example, base) == row.responses[0]
            front = found.maker.measure(row).front
            asked = b"".join(map(tokenizer.bytes_of, example.tokens[front:][~learned[front:]]))
            assert asked.decode().count(row.question) == 1
            assert "score" not in asked.decode()
        openings.setdefault(row.images, set()).add(found.maker.measure(row).opening)
    # What a picture is asked stands behind one prefix, whatever it is asked.
    assert all(len(same) == 1 for same in openings.values())
    assert len(found.packs) == len(openings)


def test_a_critic_learns_to_answer_and_to_judge(beside: Configure) -> None:
    settings = ("data.share=true", "optimizer.epochs=8", "optimizer.learning_rate=5e-3")
    config = beside("llava_onevision", *settings, "loss.answer=0.5")
    train_sft(config, quiet)
    lines = read_metrics(config.output)
    train = [line for line in lines if line["kind"] == "train"]
    for part, less in (("answer", 0.5), ("verdict", 0.5)):
        losses = [line[f"{part}_loss"] for line in train if f"{part}_loss" in line]
        assert mean(losses[-4:]) < mean(losses[:4]) - less
    judged = [line for line in lines if line["kind"] == "evaluation"]
    assert all("agreement" in line and "answer_loss" not in line for line in judged)


def test_the_weight_of_answers_is_their_own(beside: Configure) -> None:
    weights = weights_of(
        np.array([PARTS.index("answer"), PARTS.index("reason"), IGNORED]),
        beside("llava_onevision", "loss.answer=0.25").loss,
    )
    assert weights.tolist() == [0.25, 1.0, 0.0]


def test_one_file_may_be_learned_from_twice(beside: Configure) -> None:
    config = beside()
    same = beside("llava_onevision", f"data.train=[{config.data.answers[0]}]")
    found = prepare_rows(same, open_base(same), quiet)
    assert len({row.id for row in found.train}) == len(found.train) == 26


def test_answers_that_nobody_can_learn_are_refused(beside: Configure, rows: Path) -> None:
    config = beside("llava_onevision", f"data.answers=[{rows}]")
    with pytest.raises(InputError, match="no right answers of the split train"):
        prepare_rows(config, open_base(config), quiet)


@pytest.mark.parametrize("change", ["data.learn=answers", "loss.answer=-1"])
def test_settings_of_answers_that_contradict_each_other_are_refused(
    beside: Configure, change: str
) -> None:
    with pytest.raises(InputError, match=r"data.answers|answer"):
        stage_of(beside("llava_onevision", change))
