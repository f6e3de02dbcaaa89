"""What is read from GGUF files is what the checkpoint held, adapters added."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from edgecritic import ArtifactError
from edgecritic.derived.gguf_weights import GgufLanguageModel
from edgecritic.graphs.weights import ALL
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.file import write_gguf
from edgecritic_export.gguf.language_model import write_language_model
from edgecritic_export.gguf.lora import LoraConfig, write_lora
from tiny_checkpoints import write_llava_onevision, write_qwen2_5_vl

ADAPTED = ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj")


@pytest.fixture(params=["qwen2", "llama"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_llava_onevision(tmp_path / "made", text=request.param, tied=request.param == "llama")
    return tmp_path / "made"


def written(checkpoint: Path) -> Path:
    path = checkpoint.parent / "model.gguf"
    with Checkpoint.open(checkpoint) as opened:
        write_language_model(opened, path, float_type="F32")
    return path


def test_tensors_and_numbers_are_the_checkpoints(checkpoint: Path) -> None:
    model = GgufLanguageModel(written(checkpoint))
    with Checkpoint.open(checkpoint) as opened:
        # The checkpoint's epsilon is a double.
        text = model.text
        assert text.rms_eps == pytest.approx(opened.text.rms_eps)
        assert text.tensor_shapes() == opened.text.tensor_shapes()
        assert (text.n_ctx, text.rope_theta) == (opened.text.n_ctx, opened.text.rope_theta)
        for name, stored in opened.language_tensors().items():
            expected = opened.store.read(stored)
            assert model.shape(name) == expected.shape
            np.testing.assert_array_equal(model.read(name), expected)
            if expected.ndim == 2:
                part = model.read(name, slice(3, 9), slice(8, 40))
                np.testing.assert_array_equal(part, expected[3:9, 8:40])
        assert model.has("lm_head.weight") != opened.text.tied
        assert not model.has("lm_head.bias")


def adapter(checkpoint: Path, architecture: Literal["qwen2", "llama"]) -> tuple[Path, dict]:
    """An adapter of two ranks' scale, and what it adds to each matrix."""
    rng = np.random.default_rng(7)
    state, added = {}, {}
    with Checkpoint.open(checkpoint) as opened:
        shapes = opened.text.tensor_shapes()
        config = LoraConfig(architecture, opened.text.n_head, opened.text.n_head_kv, alpha=8.0)
    for module in ADAPTED:
        name = f"model.layers.1.{module}"
        n_out, n_in = shapes[f"{name}.weight"]
        down = rng.standard_normal((4, n_in)).astype(np.float32)
        up = rng.standard_normal((n_out, 4)).astype(np.float32)
        state |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
        added[f"{name}.weight"] = 2.0 * up @ down
    path = checkpoint.parent / "adapter.gguf"
    write_lora(state, config, path, float_type="F32")
    return path, added


def test_adapters_are_merged(checkpoint: Path) -> None:
    with Checkpoint.open(checkpoint) as opened:
        path, added = adapter(checkpoint, opened.text.architecture)
        model = GgufLanguageModel(written(checkpoint), [path, path])
        for name, stored in opened.language_tensors().items():
            expected = opened.store.read(stored) + 2 * added.get(name, np.float32(0))
            np.testing.assert_allclose(model.read(name), expected, atol=1e-5)
            np.testing.assert_allclose(model.read(name, slice(5, 6)), expected[5:6], atol=1e-5)
            assert model.read(name, ALL).dtype == np.float32


def test_an_adapter_of_another_shape_is_refused(checkpoint: Path) -> None:
    with Checkpoint.open(checkpoint) as opened:
        architecture = opened.text.architecture
    name = "model.layers.0.mlp.up_proj"
    state = {f"{name}.lora_{half}.weight": np.ones((4, 4), dtype=np.float32) for half in "AB"}
    path = checkpoint.parent / "adapter.gguf"
    write_lora(state, LoraConfig(architecture, 4, 2, alpha=8.0), path)
    with pytest.raises(ArtifactError, match=r"blk\.0\.ffn_up\.weight.* as \(4, 4\)"):
        GgufLanguageModel(written(checkpoint), [path])


def test_positions_that_onnx_runtime_cannot_turn_are_refused(tmp_path: Path) -> None:
    write_qwen2_5_vl(tmp_path / "made")
    with pytest.raises(ArtifactError, match="rows and columns"):
        GgufLanguageModel(written(tmp_path / "made"))


def test_scaled_positions_are_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecritic_export.gguf import language_model

    def scaled(path: Path, architecture: str, metadata: dict, tensors: dict) -> None:
        key = f"{architecture}.rope.scaling.type"
        write_gguf(path, architecture, metadata | {key: "yarn"}, tensors)

    monkeypatch.setattr(language_model, "write_gguf", scaled)
    with pytest.raises(ArtifactError, match=r"scaled rotary positions \(\w+\.rope\.scaling\.type"):
        GgufLanguageModel(written(checkpoint))
