"""How many steps the critic's recipe takes in the minutes that it is given."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edgecritic_train.critic_data.cli import main
from edgecritic_train.critic_data.rows import read_rows

SCRIPT = Path(__file__).parents[3] / "scripts" / "run_recipe.py"


@pytest.fixture
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_recipe", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_recipe"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_speed_is_measured_with_rows_and_their_own_answers(
    recipe: ModuleType, packs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = tmp_path / "judged"
    asked = ["--assets", *map(str, packs), "--items", "4", "--per-picture", "6", "--with-answers"]
    assert main(["import", "engine", *asked, "--out", str(judged)]) == 0
    recipe.write_some(judged, 24)
    some = list(read_rows(judged / "some.jsonl"))
    answers = list(read_rows(judged / "some-answers.jsonl"))
    assert (len(some), len(answers)) == (24, 8)
    assert {row.images for row in some} == {row.images for row in answers}

    def ran(step: object, work: Path, until: float | None) -> None:
        assert "data.answers=[judged/some-answers.jsonl]" in step.words
        (work / "speed").mkdir()
        facts = {"data": {"tokens": 500, "sequences": 5}}
        facts["config"] = {"optimizer": {"batch": 4, "accumulation": 2}}
        (work / "speed" / "run.json").write_text(json.dumps(facts))
        (work / "speed" / "metrics.jsonl").write_text('{"tokens_per_second": 400}\n')

    monkeypatch.setattr(recipe, "run", ran)
    chosen = recipe.Steps("critic.yaml", [], 1.0).chosen(tmp_path, None)
    assert chosen == ["optimizer.max_steps=30", "evaluation.every=6"]  # 2 s a step
