"""The embedded critic's shape is a base of `edgecritic train sft` like any other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from edgecritic_export.checkpoints.merge import merge_adapter
from edgecritic_train.cli import main
from edgecritic_train.critic_data.rows import write_rows
from edgecritic_train.tuning.config import read_config
from edgecritic_train.tuning.logs import read_metrics
from edgecritic_train.tuning.sft import train_sft
from tiny_models import TinyModels
from tiny_tuning import make_rows

RECIPES = Path(__file__).parents[4] / "recipes"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


def test_it_learns_to_judge_and_merges(
    run: Path, tiny_models: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped recipe over a tiny critic: the loss falls, and verdicts become right."""
    command = ["hf", str(run), "--language-model", str(tiny_models.language_model)]
    assert main([*command, "--without-adapter", "--out", str(tmp_path / "base")]) == 0
    (tmp_path / "judged").mkdir()
    rows = [replace(row, split="train") for row in make_rows(tmp_path)]
    write_rows(tmp_path / "judged" / "rows.jsonl", rows)
    best = [replace(row, verdict=10) for row in rows if row.verdict == 9]
    write_rows(tmp_path / "judged" / "answers.jsonl", best)
    monkeypatch.chdir(tmp_path)
    smaller = ["adapter.rank=8", "optimizer.batch=2", "data.workers=0", "base.dtype=float32"]
    smaller += ["optimizer.compile=false"]  # a compiler takes longer than these steps
    faster = ["optimizer.epochs=4", "optimizer.max_steps=null"]
    faster += ["optimizer.learning_rate=5e-3", "checkpoints.log_every=1"]
    config = read_config(RECIPES / "critic.yaml", [*smaller, *faster])
    adapter = train_sft(config, lambda _: None)
    lines = [line for line in read_metrics(config.output) if line["kind"] == "train"]
    begin, end = lines[:6], lines[-6:]
    for key, better in (("loss", -1), ("verdict_accuracy", 1)):
        means = [sum(line[key] for line in part) / len(part) for part in (begin, end)]
        assert better * (means[1] - means[0]) > 0.1, (key, means)
    merged = merge_adapter(tmp_path / "base", adapter, tmp_path / "merged")
    assert merged.adapted == 14


@pytest.mark.parametrize("name", [path.name for path in sorted(RECIPES.glob("*.yaml"))])
def test_recipes_are_read(name: str) -> None:
    from edgecritic_train.rounds.config import read_rounds

    read = read_rounds if "rounds" in yaml.safe_load((RECIPES / name).read_text()) else read_config
    assert read(RECIPES / name).output.name in ("critic", "policy", "rounds")
