"""Settings files: known keys, right types, ranges; presets below, assignments above."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.errors import InputError
from edgecritic_train.tuning.base import find_base
from edgecritic_train.tuning.config import (
    AdapterSettings,
    BaseSettings,
    DataSettings,
    LossSettings,
    OptimizerSettings,
    TuningConfig,
    preset_names,
    read_config,
)
from edgecritic_train.tuning.settings import assigned, layered, plain, read_settings

LEAST: dict[str, Any] = {
    "base": {"model": "owner/name"},
    "data": {"train": ["rows.jsonl"]},
    "output": "run",
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(layered(LEAST, changes)))
    return path


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    config = read_config(written(tmp_path))
    assert config.data.train == (Path("rows.jsonl"),)
    assert config.adapter == AdapterSettings()
    assert config.base.quantization == "nf4"


def test_one_file_need_not_be_a_list(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, data={"train": "a.jsonl"})).data.train == (
        Path("a.jsonl"),
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": {"learning_rat": 1}}, ["optimizer.learning_rat'", "mean learning_rate"]),
        ({"adaptor": {}}, ["'adaptor'", "mean adapter"]),
        ({"adapter": {"rank": "big"}}, ["adapter.rank is 'big'", "a whole number"]),
        ({"adapter": {"rank": True}}, ["adapter.rank is True"]),
        ({"adapter": {"rank": 0}}, ["adapter.rank is 0", "above 0"]),
        ({"adapter": {"dropout": 1}}, ["adapter.dropout is 1.0"]),
        ({"adapter": {"targets": ["lm_head"]}}, ["adapter.targets is 'lm_head'"]),
        (
            {"adapter": {"vision_tower": "all"}},
            ["adapter.vision_tower is 'all'", "off, lora, full"],
        ),
        ({"base": {"model": None}}, ["base.model is None"]),
        ({"base": []}, ["base is []"]),
        ({"data": {"dialect": "other"}}, ["data.dialect is 'other'", "edgecritic-v1"]),
        ({"data": {"train": []}}, ["data.train is ()"]),
        ({"loss": {"verdict": -1}}, ["loss.verdict is -1.0"]),
        ({"optimizer": {"learning_rate": math.inf}}, ["optimizer.learning_rate is inf"]),
        ({"optimizer": {"name": "sgd"}}, ["optimizer.name is 'sgd'"]),
        ({"preset": "8gb"}, ["preset is '8gb'", "12gb, 16gb, 24gb"]),
        ({"seed": -1}, ["seed is -1"]),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named(tmp_path: Path, changes: dict[str, Any], said: list[str]) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        read_config(path)
    assert all(part in str(caught.value) for part in [str(path), *said])


def test_paths_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers reads them so, and would write checkpoints elsewhere than the run lies."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").touch()
    path = written(tmp_path, output="~/run", data={"train": ["~/rows.jsonl"]})
    config = read_config(path)
    assert (config.output, config.data.train) == (tmp_path / "run", (tmp_path / "rows.jsonl",))
    assert find_base("~/base", None) == tmp_path / "base"
    with pytest.raises(InputError, match="'~nobody-of-this-name/run' is none"):
        read_config(path, ["output=~nobody-of-this-name/run"])


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("base: {model: a/b}\noutput: run\n")
    with pytest.raises(InputError, match="data is missing"):
        read_config(path)


@pytest.mark.parametrize("text", ["[1]", "a: [", "\x00"])
def test_no_settings_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml"):
        read_config(path)


def test_assignments_win_over_the_file_and_the_file_over_its_preset(tmp_path: Path) -> None:
    path = written(tmp_path, preset="12gb", adapter={"rank": 8, "alpha": 4})
    config = read_config(path, ["adapter.rank=16", "optimizer.learning_rate=2e-5"])
    assert (config.adapter.rank, config.adapter.alpha) == (16, 4)
    assert config.optimizer.learning_rate == 2e-5  # which YAML 1.1 reads as text
    assert config.optimizer.name == "paged_adamw_8bit"
    assert config.images.max_tokens == 4500


@pytest.mark.parametrize("text", ["rank", "=3", "a..b=3", "a=1: 2: 3"])
def test_an_assignment_has_one_form(text: str) -> None:
    with pytest.raises(InputError):
        assigned([text])


@pytest.mark.parametrize("preset", preset_names())
def test_presets_leave_room_for_the_text(tmp_path: Path, preset: str) -> None:
    config = read_config(written(tmp_path, preset=preset))
    assert config.images.max_tokens is not None
    assert config.data.max_tokens >= config.images.max_tokens + 500
    assert config.base.quantization == "nf4"


@given(
    st.builds(
        TuningConfig,
        base=st.builds(BaseSettings, model=st.sampled_from(["a/b", "1", "no"])),
        data=st.builds(
            DataSettings,
            train=st.lists(st.just(Path("x.jsonl")), min_size=1).map(tuple),
            max_tokens=st.integers(1, 10**6),
        ),
        output=st.just(Path("run")),
        loss=st.builds(LossSettings, verdict=st.floats(0.1, 9), reason=st.floats(0, 9)),
        optimizer=st.builds(
            OptimizerSettings,
            learning_rate=st.floats(1e-12, 1),
            max_steps=st.none() | st.integers(1, 99),
            deterministic=st.booleans(),
        ),
        adapter=st.builds(
            AdapterSettings,
            vision_tower=st.sampled_from(["off", "lora", "full"]),
            start=st.none() | st.just(Path("a")),
        ),
    )
)
def test_what_a_run_stores_reads_back_as_it_was(config: TuningConfig) -> None:
    stored = yaml.safe_load(yaml.safe_dump(plain(config)))
    assert read_settings(TuningConfig, stored, "stored") == config
    assert json.loads(json.dumps(plain(config))) == plain(config)
    assert replace(config) == config
