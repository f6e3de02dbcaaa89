"""The written files compute in llama.cpp what the checkpoint computes in transformers.

Measured on these models, whose logits have a standard deviation of about 1: logits differ by
1.7e-6 on text, 4e-6 with an adapter, 4e-4 behind an image; features by 0.003 at a deviation of 1,
a cosine of 1 - 4e-7 in F32 and 1 - 6e-7 in F16 (llama.cpp looks GELU up in a table of half
precision). With the default F16 cache text logits differ by 1.2e-3.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from peft import LoraConfig as PeftConfig
from peft import get_peft_model, get_peft_model_state_dict
from transformers import (
    LlamaConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from edgecritic.backends.base import Append, FloatArray, ImageSpan, Span, TextSpan
from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.mmproj_layout import IMAGE_NEWLINE
from edgecritic_export.gguf.file import FloatType, Tensor
from edgecritic_export.gguf.lora import Architecture, LoraConfig, write_lora
from edgecritic_export.gguf.mmproj import VisionTowerConfig, write_mmproj
from tiny_models import LanguageModelShape, vocabulary, write_language_model

OPTIONS = EngineOptions(
    n_ctx=256, n_threads=1, max_sequences=4, flash_attention=False, cache_type="F32"
)
PROMPT = (1, 40, 50, 60, 70, 80, 90, 100, 110, 120)
# Two rows and columns of pixels belong to no patch, as with SigLIP's 384 pixels in patches of 14.
TILE_SIZE, PATCH_SIZE = 30, 7
TILES = np.random.default_rng(0).integers(0, 256, size=(3, TILE_SIZE, TILE_SIZE, 3), dtype=np.uint8)


@dataclass
class Reference:
    """A tiny LLaVA-OneVision checkpoint with its language model as F32 GGUF."""

    model: LlavaOnevisionForConditionalGeneration
    architecture: Architecture
    language_model: Path

    def features(self, feature_layer: int = -1) -> FloatArray:
        """(tiles, patches, n_embd): through transformers' own path, one tile an image."""
        pixels = torch.from_numpy((TILES / 255 - 0.5) / 0.5).float().permute(0, 3, 1, 2)
        with torch.inference_mode():
            packed = self.model.get_image_features(
                pixel_values=pixels,
                image_sizes=torch.tensor([[TILE_SIZE, TILE_SIZE]] * len(TILES)),
                batch_num_images=torch.tensor([len(TILES)]),
                vision_feature_layer=feature_layer,
            ).pooler_output
        # Several images have one tile each, and a newline feature at the end.
        newline = self.model.model.image_newline.detach()
        assert all(torch.equal(image[-1], newline) for image in packed)
        return np.stack([image[:-1].numpy() for image in packed])

    def logits(self, *parts: tuple[int, ...] | FloatArray) -> FloatArray:
        """(vocab,): the row after the last position."""
        embed = self.model.get_input_embeddings()
        with torch.inference_mode():
            pieces = [
                torch.from_numpy(part)
                if isinstance(part, np.ndarray)
                else embed(torch.tensor(part)).clone()
                for part in parts
            ]
            output = self.model(inputs_embeds=torch.cat(pieces)[None])
        return np.asarray(output.logits[0, -1].numpy())


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def reference(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Reference:
    torch.manual_seed(3)
    torch.set_num_threads(1)
    shape = LanguageModelShape(architecture=request.param)
    text_config = {"llama": LlamaConfig, "qwen2": Qwen2Config}[request.param](
        hidden_size=shape.n_embd,
        intermediate_size=shape.n_ff,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_head,
        num_key_value_heads=shape.n_head_kv,
        vocab_size=len(vocabulary()),
        rms_norm_eps=shape.rms_eps,
        max_position_embeddings=shape.n_ctx,
    )
    vision_config = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=TILE_SIZE,
        patch_size=PATCH_SIZE,
        vision_use_head=False,
    )
    model = LlavaOnevisionForConditionalGeneration(
        LlavaOnevisionConfig(
            vision_config=vision_config, text_config=text_config, image_token_index=0
        )
    )
    model.train(mode=False)
    for name, parameter in model.named_parameters():
        # As large as in a trained model: with the default 0.02 every difference would look small.
        scale = 1.0 if "embed_tokens" in name else parameter.shape[-1] ** -0.5
        if "norm" in name and name.endswith("weight"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            torch.nn.init.normal_(parameter, std=scale)
    path = tmp_path_factory.mktemp("reference") / "language.gguf"
    language = {
        name: tensor
        for name, tensor in numpy_tensors(model.state_dict()).items()
        if name.startswith(("model.language_model.", "lm_head."))
    }
    write_language_model(language, shape, path)
    return Reference(model, shape.architecture, path)


@pytest.fixture
def backend(reference: Reference) -> Iterator[LlamaCppBackend]:
    opened = LlamaCppBackend(reference.language_model, options=OPTIONS)
    yield opened
    opened.close()


def numpy_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().float().numpy() for name, tensor in state.items()}


def decode(backend: LlamaCppBackend, *spans: Span) -> FloatArray:
    sequence = backend.open_sequence()
    (logits,) = backend.append([Append(sequence, spans)])
    backend.close_sequence(sequence)
    assert logits is not None
    return logits


def tower_file(
    reference: Reference, path: Path, float_type: FloatType = "F32", feature_layer: int = -1
) -> Path:
    checkpoint = reference.model.config.to_dict() | {"vision_feature_layer": feature_layer}
    config = VisionTowerConfig.from_checkpoint(checkpoint)
    write_mmproj(numpy_tensors(reference.model.state_dict()), config, path, float_type=float_type)
    return path


def least_cosine(left: FloatArray, right: FloatArray) -> float:
    products = (left * right).sum(-1)
    lengths = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    return float((products / lengths).min())


@pytest.mark.parametrize("float_type", ["F32", "F16"])
@pytest.mark.parametrize("feature_layer", [-1, -2])
def test_image_features(
    reference: Reference, tmp_path: Path, float_type: FloatType, feature_layer: int
) -> None:
    mmproj = tower_file(reference, tmp_path / "mmproj.gguf", float_type, feature_layer)
    backend = LlamaCppBackend(reference.language_model, mmproj=mmproj, options=OPTIONS)
    features, expected = backend.encode_tiles(TILES), reference.features(feature_layer)
    backend.close()
    assert features.shape == expected.shape
    assert least_cosine(features, expected) > 1 - 2e-6


def test_text_logits(reference: Reference, backend: LlamaCppBackend) -> None:
    np.testing.assert_allclose(
        decode(backend, TextSpan(PROMPT)), reference.logits(PROMPT), atol=1e-5
    )


def test_logits_behind_an_image(reference: Reference, tmp_path: Path) -> None:
    mmproj = tower_file(reference, tmp_path / "mmproj.gguf")
    backend = LlamaCppBackend(reference.language_model, mmproj=mmproj, options=OPTIONS)
    features = backend.encode_tiles(TILES).reshape(-1, backend.info.n_embd)
    spans = TextSpan(PROMPT), ImageSpan("tiles", features), TextSpan(PROMPT)
    logits = decode(backend, *spans)
    backend.close()
    expected = reference.features().reshape(features.shape)
    np.testing.assert_allclose(logits, reference.logits(PROMPT, expected, PROMPT), atol=2e-3)


# peft 0.21 reads an attribute that transformers 5.23 has renamed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_adapter(reference: Reference, tmp_path: Path, rank_stabilised: bool) -> None:
    model = copy.deepcopy(reference.model)  # PEFT changes the model that it is given
    base = reference.logits(PROMPT)
    config = PeftConfig(
        r=4,
        lora_alpha=8,
        use_rslora=rank_stabilised,
        target_modules=r".*language_model.*(q|k|v|o|gate|up|down)_proj",
        init_lora_weights=False,
    )
    adapted = get_peft_model(model, config)
    expected = replace(reference, model=model).logits(PROMPT)
    write_lora(
        numpy_tensors(get_peft_model_state_dict(adapted)),
        LoraConfig.from_checkpoint(vars(config), reference.model.config.to_dict()["text_config"]),
        tmp_path / "lora.gguf",
        float_type="F32",
    )
    backend = LlamaCppBackend(
        reference.language_model, adapters=[tmp_path / "lora.gguf"], options=OPTIONS
    )
    logits = decode(backend, TextSpan(PROMPT))
    backend.close()
    assert np.abs(expected - base).max() > 1
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_the_newline_feature_travels_in_the_file(reference: Reference, tmp_path: Path) -> None:
    tensors = GGUFReader(tower_file(reference, tmp_path / "mmproj.gguf", "F16")).tensors
    (stored,) = (tensor.data for tensor in tensors if tensor.name == IMAGE_NEWLINE)
    np.testing.assert_array_equal(stored, reference.model.model.image_newline.detach().numpy())
