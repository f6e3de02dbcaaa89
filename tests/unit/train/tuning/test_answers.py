"""A policy learns to answer from the rows at the top of their scale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgecritic.errors import InputError
from edgecritic_train.critic_data.rows import write_rows
from edgecritic_train.tuning.answers import prepare_answers
from edgecritic_train.tuning.base import open_base
from edgecritic_train.tuning.config import TuningConfig
from edgecritic_train.tuning.examples import IGNORED, PARTS
from edgecritic_train.tuning.logs import read_metrics
from edgecritic_train.tuning.sft import train_sft
from tiny_tuning import FAMILIES, Configure, make_rows

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is deprecated and will be removed in v6:FutureWarning"
)


def quiet(_: str) -> None:
    """Nobody listens."""


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
        *said, end = example.tokens[learned].tolist()
        assert b"".join(map(tokenizer.bytes_of, said)).decode() == row.responses[0]
        assert end == tokenizer.control_tokens["<|im_end|>"]
        assert base.folder.image_token not in said
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
