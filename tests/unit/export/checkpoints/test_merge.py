"""Merged checkpoints compute what PEFT's own merge computes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlavaOnevisionForConditionalGeneration

from edgecritic.errors import ArtifactError
from edgecritic_export.checkpoints.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.merge import Merged, merge_adapter
from edgecritic_export.checkpoints.nf4 import nf4_round_trip
from edgecritic_export.checkpoints.shard_writer import ShardWriter
from tiny_checkpoints import write_llava_onevision

# peft 0.21 reads an attribute that transformers 5.23 has renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)
LANGUAGE = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
PROMPT = torch.tensor([[260, 5, 90, 17, 44, 200, 9, 33]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    write_llava_onevision(folder)
    return folder


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """A LoRA adapter with random matrices."""
    save_adapter(base, tmp_path / "adapter")
    return tmp_path / "adapter"


def load(folder: Path) -> LlavaOnevisionForConditionalGeneration:
    return LlavaOnevisionForConditionalGeneration.from_pretrained(folder).train(mode=False)


def save_adapter(base: Path, folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    """Save a random adapter, and return the state of PEFT's own merge."""
    torch.manual_seed(11)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": LANGUAGE, "init_lora_weights": False}
    model = get_peft_model(load(base), LoraConfig(**{**settings, **options}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape))
            elif "magnitude" in name:
                parameter.mul_(1 + 0.1 * torch.rand(parameter.shape))
    model.save_pretrained(folder)
    return dict(model.merge_and_unload().state_dict())


def assert_same_weights(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    found = load(folder).state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], atol=2e-6, rtol=2e-6, msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"alpha_pattern": {"q_proj": 3}, "rank_pattern": {r"layers\.1\.mlp\.up_proj": 2}},
        {"target_modules": ["q_proj", "fc1"]},  # of the vision tower, too
        {"layers_to_transform": [1], "target_modules": ["up_proj"]},
        {"modules_to_save": ["multi_modal_projector"]},
        {"modules_to_save": ["model.vision_tower", "model.multi_modal_projector"]},
        {"modules_to_save": ["embed_tokens", "lm_head"]},
    ],
    ids=str,
)
def test_merged_weights_are_those_of_peft(
    base: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    expected = save_adapter(base, tmp_path / "adapter", **options)
    merged = merge_adapter(base, tmp_path / "adapter", tmp_path / "out", dequantise=False)
    assert merged.written
    assert merged.largest_change > 0.1
    assert merged.vanished == ()
    assert_same_weights(tmp_path / "out", expected)


def test_a_qlora_adapter_meets_the_weights_it_was_trained_over(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    """What the adapter saw in training: NF4 language layers, and everything else as it was."""
    rounded = tmp_path / "rounded"
    shutil.copytree(base, rounded)
    state = load_file(base / "model.safetensors")
    for name, tensor in state.items():
        if "language_model.model.layers" in name and name.endswith("_proj.weight"):
            state[name] = torch.from_numpy(nf4_round_trip(tensor.numpy()))
    save_file(state, rounded / "model.safetensors", metadata={"format": "pt"})
    expected = save_adapter(rounded, tmp_path / "same-adapter")

    merge_adapter(base, adapter, tmp_path / "out")
    assert_same_weights(tmp_path / "out", expected)

    merge_adapter(base, adapter, tmp_path / "plain", dequantise=False)
    with torch.inference_mode():
        logits = [load(tmp_path / name)(PROMPT).logits for name in ("out", "plain")]
    assert (logits[0] - logits[1]).abs().max() > 1e-2


def test_types_settings_and_shards_are_those_of_the_base(tmp_path: Path) -> None:
    write_llava_onevision(tmp_path / "base", dtype="bfloat16")
    save_adapter(tmp_path / "base", tmp_path / "adapter")
    merge_adapter(tmp_path / "base", tmp_path / "adapter", tmp_path / "out", shard_bytes=60_000)
    with Checkpoint.open(tmp_path / "base") as base, Checkpoint.open(tmp_path / "out") as out:
        assert set(out.store.names) == set(base.store.names)
        assert {out.store.dtype(name) for name in out.store.names} == {"BF16"}
        assert out.config == base.config
        assert out.geometry == base.geometry
    kept = ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
    assert all((tmp_path / "out" / name).is_file() for name in kept)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1


def test_a_second_run_reports_the_same_and_writes_nothing(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    first = merge_adapter(base, adapter, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = merge_adapter(base, adapter, tmp_path / "out")
    facts = ("adapted", "replaced", "largest_change", "most_changed", "vanished")
    assert [getattr(again, fact) for fact in facts] == [getattr(first, fact) for fact in facts]
    assert not again.written
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    with pytest.raises(ArtifactError, match="not made from this source"):
        merge_adapter(base, adapter, tmp_path / "out", dequantise=False)


def test_an_interrupted_merge_leaves_nothing(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ShardWriter, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        merge_adapter(base, adapter, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def refused(base: Path, adapter: Path, out: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        merge_adapter(base, adapter, out, dequantise=False)
    assert not out.exists()
    return str(caught.value)


def change_weights(adapter: Path, changed: Any) -> None:
    state = load_file(adapter / ADAPTER_WEIGHTS)
    save_file(changed(state), adapter / ADAPTER_WEIGHTS)


def change_config(adapter: Path, **changes: Any) -> None:
    config = json.loads((adapter / ADAPTER_CONFIG).read_text())
    (adapter / ADAPTER_CONFIG).write_text(json.dumps({**config, **changes}))


def one(state: dict[str, torch.Tensor], part: str) -> str:
    return sorted(name for name in state if part in name)[0]


def test_a_missing_half_is_an_error(base: Path, adapter: Path, tmp_path: Path) -> None:
    change_weights(adapter, lambda s: {k: v for k, v in s.items() if k != one(s, "lora_B")})
    assert "lora_B of " in refused(base, adapter, tmp_path / "out")


def test_a_missing_layer_is_an_error(base: Path, adapter: Path, tmp_path: Path) -> None:
    change_weights(
        adapter, lambda s: {k: v for k, v in s.items() if "layers.1.self_attn.q_proj" not in k}
    )
    message = refused(base, adapter, tmp_path / "out")
    assert "layers.1.self_attn.q_proj.weight is missing" in message


def test_a_missing_target_is_an_error(base: Path, tmp_path: Path) -> None:
    save_adapter(base, tmp_path / "adapter", target_modules=["up_proj"])
    change_config(tmp_path / "adapter", target_modules=["up_proj", "down_proj"])
    assert "'down_proj'" in refused(base, tmp_path / "adapter", tmp_path / "out")


def test_a_missing_trained_module_is_an_error(base: Path, adapter: Path, tmp_path: Path) -> None:
    change_config(adapter, modules_to_save=["multi_modal_projector"])
    assert "modules_to_save but missing" in refused(base, adapter, tmp_path / "out")


def test_an_unused_key_is_an_error(base: Path, adapter: Path, tmp_path: Path) -> None:
    change_weights(adapter, lambda s: {**s, "base_model.model.score.weight": torch.ones(2, 64)})
    assert "belongs to no tensor" in refused(base, adapter, tmp_path / "out")


def test_a_deeper_models_adapter_is_an_error(base: Path, adapter: Path, tmp_path: Path) -> None:
    change_weights(
        adapter,
        lambda s: {**s, **{k.replace("layers.1", "layers.2"): v.clone() for k, v in s.items()}},
    )
    assert "belongs to no tensor" in refused(base, adapter, tmp_path / "out")


def test_a_zero_update_is_an_error(base: Path, adapter: Path, tmp_path: Path) -> None:
    change_weights(
        adapter, lambda s: {**s, one(s, "lora_B"): torch.zeros_like(s[one(s, "lora_B")])}
    )
    assert "is all zero" in refused(base, adapter, tmp_path / "out")


def test_a_diverged_update_is_an_error(base: Path, adapter: Path, tmp_path: Path) -> None:
    change_weights(adapter, lambda s: {**s, one(s, "lora_A"): s[one(s, "lora_A")] * torch.nan})
    assert "is not finite" in refused(base, adapter, tmp_path / "out")


def test_an_update_that_rounding_swallows_is_an_error(tmp_path: Path) -> None:
    write_llava_onevision(tmp_path / "base", dtype="bfloat16")
    save_adapter(tmp_path / "base", tmp_path / "adapter")
    change_weights(tmp_path / "adapter", lambda s: {k: v.float() * 1e-6 for k, v in s.items()})
    message = refused(tmp_path / "base", tmp_path / "adapter", tmp_path / "out")
    assert "no weight of" in message


def test_what_got_no_gradient_is_not_lost_in_rounding(base: Path, tmp_path: Path) -> None:
    """Trained whole, a tower's last norm stays as it was where pictures are read before it."""
    adapter, module = tmp_path / "adapter", "multi_modal_projector"
    save_adapter(base, adapter, modules_to_save=[module])
    trained = f"base_model.model.model.{module}.linear_1.bias"
    untouched = next(
        v
        for k, v in load_file(base / "model.safetensors").items()
        if k.endswith(f"{module}.linear_1.bias")
    )
    change_weights(adapter, lambda s: {**s, trained: untouched})
    assert merge_adapter(base, adapter, tmp_path / "out", dequantise=False).vanished == ()


@pytest.mark.parametrize("name", ["ref", "reference"])
def test_a_reference_policy_is_refused(
    base: Path, adapter: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(adapter, adapter / name)
    assert "reference policy" in refused(base, adapter / name, tmp_path / "out")


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "LOHA"},
        {"fan_in_fan_out": True},
        {"lora_bias": True},
        {"trainable_token_indices": [3]},
        {"init_lora_weights": "pissa"},
        {"a_setting_of_tomorrow": {"on": True}},
        {"lora_alpha": 0},
    ],
    ids=str,
)
def test_other_variants_are_refused(
    base: Path, adapter: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    change_config(adapter, **changes)
    assert str(adapter) in refused(base, adapter, tmp_path / "out")


def test_a_pickled_adapter_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    (adapter / ADAPTER_WEIGHTS).rename(adapter / "adapter_model.bin")
    assert "only safetensors" in refused(base, adapter, tmp_path / "out")


def test_the_largest_change_is_that_of_the_weights(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    merged: Merged = merge_adapter(base, adapter, tmp_path / "out", dequantise=False)
    name = merged.most_changed
    before = load_file(base / "model.safetensors")[name].numpy()
    after = load_file(tmp_path / "out" / "model.safetensors")[name].numpy()
    change = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert merged.largest_change == pytest.approx(float(change), rel=1e-5)
