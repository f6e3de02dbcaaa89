"""Names, settings and refusals of the vision tower's writer; its numbers are tested against
transformers in `test_against_transformers`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecritic.errors import ArtifactError
from edgecritic.gguf_header import read_header
from edgecritic_export.gguf.file import Tensor
from edgecritic_export.gguf.mmproj import VisionTowerConfig, write_mmproj
from tiny_models import TOWER, vision_tensors

CHECKPOINT: dict[str, object] = {
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "full",
    "projector_hidden_act": "gelu",
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_act": "gelu_pytorch_tanh",
        "image_size": 384,
        "patch_size": 14,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 26,
        "num_attention_heads": 16,
        "layer_norm_eps": 1e-6,
    },
}


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return vision_tensors(TOWER, 64, np.random.default_rng(0))


def test_the_config_of_a_checkpoint() -> None:
    config = VisionTowerConfig.from_checkpoint(CHECKPOINT)
    assert config == VisionTowerConfig(
        image_size=384, patch_size=14, n_embd=1152, n_ff=4304, n_head=16, n_blocks=26
    )
    second_to_last = CHECKPOINT | {"vision_feature_layer": -2}
    assert VisionTowerConfig.from_checkpoint(second_to_last).n_blocks == 25


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("", "vision_feature_select_strategy", "default"),
        ("", "projector_hidden_act", "relu"),
        ("", "vision_feature_layer", -28),
        ("", "vision_feature_layer", [-2, -1]),
        ("", "vision_config", None),
        ("vision_config", "model_type", "clip_vision_model"),
        ("vision_config", "hidden_act", "quick_gelu"),
        ("vision_config", "hidden_size", "1152"),
    ],
)
def test_other_checkpoints_are_refused(section: str, key: str, value: object) -> None:
    vision = CHECKPOINT["vision_config"]
    assert isinstance(vision, dict)
    changed = CHECKPOINT | ({"vision_config": vision | {key: value}} if section else {key: value})
    with pytest.raises(ArtifactError, match=key) as caught:
        VisionTowerConfig.from_checkpoint(changed)
    assert "SigLIP" in caught.value.hint


@pytest.mark.parametrize("prefix", ["model.vision_tower.", "vision_tower."])
def test_names_of_older_and_newer_transformers(
    tensors: dict[str, Tensor], tmp_path: Path, prefix: str
) -> None:
    write_mmproj(tensors, TOWER, tmp_path / "expected.gguf")
    renamed = {
        name.replace("model.vision_tower.vision_model.", prefix): tensor
        for name, tensor in tensors.items()
    }
    write_mmproj(renamed, TOWER, tmp_path / "renamed.gguf")
    assert (tmp_path / "renamed.gguf").read_bytes() == (tmp_path / "expected.gguf").read_bytes()


def test_only_what_is_computed_is_written(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    tensors["model.language_model.norm.weight"] = np.ones(64, dtype=np.float32)
    tensors["lm_head.weight"] = np.ones((9, 64), dtype=np.float32)
    write_mmproj(tensors, TOWER, tmp_path / "tower.gguf")
    header = read_header(tmp_path / "tower.gguf")
    assert len(header.tensors) == 3 + 2 * 16 + 4 + 1  # embeddings, blocks, projector, newline
    assert not [name for name in header.tensors if "post_ln" in name or "output" in name]
    matrices = {claim.type_name for claim in header.tensors.values() if len(claim.shape) > 1}
    vectors = {claim.type_name for claim in header.tensors.values() if len(claim.shape) == 1}
    assert (matrices, vectors) == ({"F16", "F32"}, {"F32"})


def test_blocks_behind_the_feature_layer_are_left_out(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    write_mmproj(tensors, replace(TOWER, n_blocks=1), tmp_path / "tower.gguf")
    header = read_header(tmp_path / "tower.gguf")
    assert header.count("clip.vision.block_count") == 1
    assert header.array("clip.vision.feature_layer", "int32").items == (1,)
    assert not [name for name in header.tensors if name.startswith("v.blk.1.")]


def test_missing_unknown_and_misshapen_tensors(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "tower.gguf"
    block = "model.vision_tower.vision_model.encoder.layers.1"
    without = {name: t for name, t in tensors.items() if name != f"{block}.mlp.fc1.bias"}
    with pytest.raises(ArtifactError, match=r"v\.blk\.1\.ffn_up\.bias is None, expected \(64,\)"):
        write_mmproj(without, TOWER, path)
    with pytest.raises(ArtifactError, match=r"mm\.0\.bias is missing"):
        write_mmproj({n: t for n, t in tensors.items() if "linear_1.bias" not in n}, TOWER, path)
    for name in (f"{block}.self_attn.rope.weight", "audio_tower.x", "multi_modal_projector.norm.b"):
        with pytest.raises(ArtifactError, match="not part of"):
            write_mmproj(tensors | {name: np.ones(2, dtype=np.float32)}, TOWER, path)
    with pytest.raises(ArtifactError, match="position_embd"):
        write_mmproj(tensors, replace(TOWER, image_size=56), path)
    with pytest.raises(ArtifactError, match="equals the tower's width"):
        write_mmproj(tensors, replace(TOWER, n_ff=32), path)
    assert not path.exists()
