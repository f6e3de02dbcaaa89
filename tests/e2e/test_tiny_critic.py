"""From assets to a verdict: train a tiny critic in all stages, export it, judge with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from edgecritic import Bundle, Critic
from edgecritic_export.cli import main as export
from edgecritic_train.data.assets import Assets
from edgecritic_train.data.engine import item_at
from edgecritic_train.embedded.config import (
    EmbeddedConfig,
    LoraShape,
    StageBudget,
    TowerShape,
)
from edgecritic_train.embedded.sft import Sources
from edgecritic_train.embedded.train import STAGES, train
from tiny_models import TinyModels

SECONDS = 1.5
CONFIG = EmbeddedConfig(
    tower=TowerShape(width=32, layers=1, heads=2, mlp=48),
    lora=LoraShape(rank=2, alpha=4),
    pretrain=StageBudget(SECONDS, 4, 1e-3, 1e-3),
    align=StageBudget(SECONDS, 2, 1e-3, 1e-3, 1e-3),
    sft=StageBudget(SECONDS, 2, 1e-3, 1e-3, 1e-3),
    answer_tokens=768,  # a token of the tiny tokenizer is a byte
    row_tokens=1280,
)


@pytest.fixture(scope="module")
def sources(
    packs: tuple[Path, Path], tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory
) -> Sources:
    run = tmp_path_factory.mktemp("run")
    return Sources(packs[:1], tiny_models.language_model, run, n_workers=0, compiled=False)


@pytest.fixture(scope="module")
def trained(sources: Sources) -> Iterator[Path]:
    """The run's folder. Training lowers the precision of matrix products on a GPU, for all."""
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    train(CONFIG, sources, STAGES)
    torch.set_float32_matmul_precision(precision)
    yield sources.folder
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bundle(trained: Path, sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("bundle") / "tiny"
    asked = ["embedded", str(trained), "--language-model", str(sources.language_model)]
    assert export([*asked, "--out", str(out), "--version", "0.1"]) == 0
    return Bundle.read(out)


def test_every_stage_took_steps(trained: Path) -> None:
    entries = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(entry["stage"] for entry in entries)) == list(STAGES)
    assert all(entry["step"] >= 1 and entry["loss"] < 100 for entry in entries)
    summary = json.loads((trained / "training.json").read_text())
    assert summary["config"]["lora"] == {"rank": 2, "alpha": 4}
    assert set(summary["stages"]) == set(STAGES)


def test_the_exported_critic_judges_a_picture_it_was_not_trained_on(
    bundle: Bundle, packs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecritic.scoring.MIN_MASS", 0.0)  # seconds do not teach it the format
    item = item_at(Assets.load(*packs), "T1", 1, 0)
    responses = [response.text for response in item.responses[:2]]
    with Critic.load(bundle, backend="llamacpp", device="cpu", threads=1) as critic:
        verdict = critic.score(item.images[0], item.question, responses[0], max_rationale_tokens=4)
        assert (verdict.status, verdict.critic) == ("ok", "edgecritic-embedded-0.1")
        assert list(dict(verdict.probabilities)) == list(range(1, 11))
        assert sum(dict(verdict.probabilities).values()) == pytest.approx(1)
        assert verdict.score is not None
        assert 1 <= verdict.score <= 10
        grey = Image.new("RGB", item.images[0].size, (128, 128, 128))
        unseen = critic.score(grey, item.question, responses[0], rationale=False)
        assert unseen.mass != verdict.mass  # the picture reaches the language model
        pair = critic.compare(item.images[0], item.question, *responses, rationale=False)
        assert (pair.status, len(pair.orders)) == ("ok", 2)
        assert sum(dict(pair.probabilities).values()) == pytest.approx(1)


def test_a_finished_run_is_left_as_it_is(trained: Path, sources: Sources) -> None:
    before = (trained / "critic.safetensors").read_bytes()
    log = (trained / "metrics.jsonl").read_text()
    train(CONFIG, sources, STAGES)
    assert (trained / "critic.safetensors").read_bytes() == before
    assert (trained / "metrics.jsonl").read_text() == log
