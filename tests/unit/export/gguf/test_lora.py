"""Names, settings and refusals of the adapter's writer; its numbers are tested against
transformers in `test_against_transformers`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecritic.errors import ArtifactError
from edgecritic.gguf_header import read_header
from edgecritic_export.gguf.file import Tensor
from edgecritic_export.gguf.lora import LoraConfig, permute_for_rope, write_lora
from tiny_models import LanguageModelShape, lora_tensors

CONFIG = LoraConfig("llama", n_head=4, n_head_kv=2, alpha=16.0)
ADAPTER: dict[str, object] = {"lora_alpha": 16, "bias": "none", "use_rslora": False}
TEXT: dict[str, object] = {
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return lora_tensors(LanguageModelShape(), np.random.default_rng(0))


def test_names_shapes_and_settings(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    write_lora(tensors, CONFIG, tmp_path / "lora.gguf")
    header = read_header(tmp_path / "lora.gguf")
    assert header.text("general.type") == "adapter"
    assert header.text("adapter.type") == "lora"
    assert header.number("adapter.lora.alpha", 0, 100) == 16
    assert header.types["adapter.lora.alpha"] == "float32"
    assert len(header.tensors) == 2 * 7 * 2
    assert header.tensor("blk.1.attn_k.weight.lora_a").shape == (64, 4)
    assert header.tensor("blk.1.attn_k.weight.lora_b").shape == (4, 32)
    assert header.tensor("blk.0.ffn_down.weight.lora_a").shape == (96, 4)


def test_names_of_a_live_model_and_within_llava(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    write_lora(tensors, CONFIG, tmp_path / "saved.gguf")
    live = {
        name.replace("model.layers", "model.language_model.layers").replace(
            ".weight", ".default.weight"
        ): tensor
        for name, tensor in tensors.items()
    }
    write_lora(live, CONFIG, tmp_path / "live.gguf")
    assert (tmp_path / "live.gguf").read_bytes() == (tmp_path / "saved.gguf").read_bytes()


def test_permutation_pairs_the_halves_of_each_head() -> None:
    rows = np.arange(12, dtype=np.float32)
    np.testing.assert_array_equal(
        permute_for_rope(rows, n_head=2), [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    )
    matrix = np.stack([rows, rows + 100], axis=1)
    expected = np.stack([permute_for_rope(rows, 2), permute_for_rope(rows + 100, 2)], axis=1)
    np.testing.assert_array_equal(permute_for_rope(matrix, 2), expected)


def test_configs_of_a_checkpoint() -> None:
    assert LoraConfig.from_checkpoint(ADAPTER, TEXT) == CONFIG
    qwen = TEXT | {"model_type": "qwen2", "num_key_value_heads": None}
    config = LoraConfig.from_checkpoint(ADAPTER | {"use_rslora": True}, qwen)
    assert config == LoraConfig("qwen2", 4, 4, 16.0, rank_stabilised=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
    ],
)
def test_variants_that_the_engine_does_not_compute(change: dict[str, object], message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        LoraConfig.from_checkpoint(ADAPTER | change, TEXT)
    assert "merge" in caught.value.hint


def test_other_language_models() -> None:
    with pytest.raises(ArtifactError, match="'phi3' is not one of llama, qwen2"):
        LoraConfig.from_checkpoint(ADAPTER, TEXT | {"model_type": "phi3"})


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.qkv_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight",
    ],
)
def test_tensors_that_the_engine_cannot_apply(
    tensors: dict[str, Tensor], tmp_path: Path, name: str
) -> None:
    with pytest.raises(ArtifactError, match="cannot apply"):
        write_lora(tensors | {name: np.ones((4, 64), dtype=np.float32)}, CONFIG, tmp_path / "l")


def test_halves_that_do_not_match(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "lora.gguf"
    first = next(iter(tensors))
    with pytest.raises(ArtifactError, match="do not match"):
        write_lora({n: t for n, t in tensors.items() if n != first}, CONFIG, path)
    with pytest.raises(ArtifactError, match="do not match"):
        write_lora(tensors | {first: tensors[first][:2]}, CONFIG, path)
    with pytest.raises(ArtifactError, match="0 adapted layers"):
        write_lora({}, CONFIG, path)
    assert not path.exists()


def test_rank_stabilised_adapters_need_one_rank(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    config = LoraConfig("llama", 4, 2, 16.0, rank_stabilised=True)
    write_lora(tensors, config, tmp_path / "lora.gguf")
    alpha = read_header(tmp_path / "lora.gguf").number("adapter.lora.alpha", 0, 100)
    assert alpha / 4 == pytest.approx(16 / np.sqrt(4))  # what llama.cpp scales by: alpha / rank
    other_rank = lora_tensors(LanguageModelShape(), np.random.default_rng(0), rank=8)
    mixed = {n: other_rank[n] if "layers.1" in n else t for n, t in tensors.items()}
    with pytest.raises(ArtifactError, match=r"ranks \[4, 8\]"):
        write_lora(mixed, config, tmp_path / "mixed.gguf")
