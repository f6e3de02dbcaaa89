"""A tiny Qwen2.5-VL in llama.cpp computes what it computes in transformers.

Measured on these models, whose logits have a standard deviation of about 1: logits differ by
2.4e-6 on text and 6e-5 behind pictures; features by 2e-4 at a deviation of 0.15, a cosine of
1 - 3e-7 in F32 (llama.cpp looks GELU up in a table of half precision), 1 - 1e-6 in F16 and
1 - 2e-5 in BF16.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from edgecritic.backends.base import Append, FloatArray, ImageSpan, Span, TextSpan
from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.errors import ArtifactError, ImageError
from edgecritic.pictures import NativeVision, PictureEncoder
from edgecritic.vision import NativeGeometry
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.file import FloatType
from edgecritic_export.gguf.forward import ForwardOptions, ForwardPass
from edgecritic_export.gguf.language_model import write_language_model
from edgecritic_export.gguf.lora import write_adapter
from edgecritic_export.gguf.mmproj import write_checkpoint_mmproj
from tiny_checkpoints import IMAGE_TOKEN_ID, write_qwen2_5_vl

# Small batches, so that pictures and texts are cut anywhere.
OPTIONS = EngineOptions(
    n_ctx=512,
    n_threads=1,
    n_batch=20,
    n_ubatch=16,
    max_sequences=4,
    flash_attention=False,
    cache_type="F32",
)
# Several windows of 112 pixels with a rest, wide, tall, one row, one column, and enlarged ones.
SIZES = [(140, 252), (224, 112), (300, 84), (28, 200), (400, 30), (56, 56), (20, 17)]
BEFORE, BETWEEN, AFTER = (5, 6, 7), (8, 9), (10, 11, 12, 13)


@dataclass
class Reference:
    """transformers' own path, from a picture and token ids to logits."""

    model: Any
    folder: Path

    def features(self, *pictures: Image.Image) -> list[FloatArray]:
        inputs = self._pixels(*pictures)
        with torch.inference_mode():
            found = self.model.model.get_image_features(
                inputs["pixel_values"], inputs["image_grid_thw"]
            )
        return [features.numpy() for features in found.pooler_output]

    def logits(self, *parts: tuple[int, ...] | Image.Image) -> FloatArray:
        """(n, vocab): all rows."""
        pictures = [part for part in parts if isinstance(part, Image.Image)]
        inputs = self._pixels(*pictures) if pictures else {}
        counts = iter(inputs["image_grid_thw"].prod(-1) // 4 if pictures else ())
        ids = [
            token
            for part in parts
            for token in (part if isinstance(part, tuple) else (IMAGE_TOKEN_ID,) * next(counts))
        ]
        kinds = [int(token == IMAGE_TOKEN_ID) for token in ids]
        with torch.inference_mode():
            output = self.model(
                input_ids=torch.tensor([ids]), mm_token_type_ids=torch.tensor([kinds]), **inputs
            )
        return np.asarray(output.logits[0].numpy())

    def _pixels(self, *pictures: Image.Image) -> dict[str, torch.Tensor]:
        processor = Qwen2VLImageProcessorPil.from_pretrained(self.folder)
        return dict(processor(list(pictures), return_tensors="pt"))


@dataclass
class Exported:
    language_model: Path
    mmproj: Path
    vision: NativeVision


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("qwen")
    write_qwen2_5_vl(folder)
    torch.set_num_threads(1)
    model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder)
    return Reference(model.eval(), folder)


@pytest.fixture(scope="module")
def exported(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    out = tmp_path_factory.mktemp("exported")
    with Checkpoint.open(reference.folder) as checkpoint:
        write_language_model(checkpoint, out / "model.gguf", float_type="F32")
        write_checkpoint_mmproj(checkpoint, out / "mmproj.gguf", float_type="F32")
        assert isinstance(checkpoint.geometry, NativeGeometry)
        vision = NativeVision(checkpoint.geometry, "tower")
    return Exported(out / "model.gguf", out / "mmproj.gguf", vision)


@pytest.fixture(scope="module")
def backend(exported: Exported) -> Iterator[LlamaCppBackend]:
    opened = LlamaCppBackend(exported.language_model, mmproj=exported.mmproj, options=OPTIONS)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def encoder(backend: LlamaCppBackend, exported: Exported) -> PictureEncoder:
    return PictureEncoder(backend, exported.vision)


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    height, width = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[: height // 2] = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None]
    return Image.fromarray(pixels)


def decode(backend: LlamaCppBackend, *spans: Span) -> FloatArray:
    sequence = backend.open_sequence()
    (logits,) = backend.append([Append(sequence, spans)])
    backend.close_sequence(sequence)
    assert logits is not None
    return logits


def least_cosine(left: FloatArray, right: FloatArray) -> float:
    products = (left * right).sum(-1)
    lengths = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    return float((products / lengths).min())


@pytest.mark.parametrize("size", SIZES)
def test_image_features(reference: Reference, encoder: PictureEncoder, size: Any) -> None:
    (span,) = encoder.spans(picture(size))
    (expected,) = reference.features(picture(size))
    assert span.features.shape == expected.shape
    assert span.grid is not None
    assert span.n_positions == max(span.grid)
    assert least_cosine(span.features, expected) > 1 - 2e-6
    np.testing.assert_allclose(span.features, expected, atol=2e-3)


@pytest.mark.parametrize(("float_type", "limit"), [("F16", 1e-5), ("BF16", 2e-4)])
def test_towers_in_half_precision(
    *, reference: Reference, exported: Exported, tmp_path: Path, float_type: FloatType, limit: float
) -> None:
    with Checkpoint.open(reference.folder) as checkpoint:
        write_checkpoint_mmproj(checkpoint, tmp_path / "half.gguf", float_type=float_type)
    opened = LlamaCppBackend(
        exported.language_model, mmproj=tmp_path / "half.gguf", options=OPTIONS
    )
    (span,) = PictureEncoder(opened, exported.vision).spans(picture(SIZES[0]))
    opened.close()
    assert least_cosine(span.features, reference.features(picture(SIZES[0]))[0]) > 1 - limit


def test_text_logits(reference: Reference, backend: LlamaCppBackend) -> None:
    prompt = tuple(range(5, 45))
    np.testing.assert_allclose(
        decode(backend, TextSpan(prompt)), reference.logits(prompt)[-1], atol=2e-5
    )


@pytest.mark.parametrize("size", SIZES)
def test_logits_behind_a_picture(
    reference: Reference, backend: LlamaCppBackend, encoder: PictureEncoder, size: Any
) -> None:
    (span,) = encoder.spans(picture(size))
    logits = decode(backend, TextSpan(BEFORE), span, TextSpan(AFTER))
    expected = reference.logits(BEFORE, picture(size), AFTER)[-1]
    np.testing.assert_allclose(logits, expected, atol=2e-3)
    # Elsewhere in the plane, or in a line, the same features mean something else.
    turned = ImageSpan(span.key, span.features, (len(span), 1))
    if span.grid not in ((len(span), 1), (1, len(span))):
        moved = decode(backend, TextSpan(BEFORE), turned, TextSpan(AFTER))
        assert np.abs(moved - expected).max() > 0.02


def test_logits_behind_several_pictures(
    reference: Reference, backend: LlamaCppBackend, encoder: PictureEncoder
) -> None:
    first, second = picture((140, 252), 1), picture((300, 84), 2)
    one, two = encoder.spans([first, second])
    # transformers takes neighbouring pictures for one, so there is a token between them.
    spans = (TextSpan(BEFORE), one, TextSpan(BETWEEN), two, TextSpan(BETWEEN), one, TextSpan(AFTER))
    parts = (BEFORE, first, BETWEEN, second, BETWEEN, first, AFTER)
    np.testing.assert_allclose(decode(backend, *spans), reference.logits(*parts)[-1], atol=2e-3)


def test_positions_go_on_behind_forks(
    reference: Reference, backend: LlamaCppBackend, encoder: PictureEncoder
) -> None:
    """Pictures at the end of a prefix, in a branch, and in steps of one token."""
    shown = picture((84, 224), 3)
    (span,) = encoder.spans(shown)
    trunk = backend.open_sequence()
    backend.append([Append(trunk, (TextSpan(BEFORE), span), logits=False)])
    branch = backend.fork(trunk)
    steps = [backend.append([Append(trunk, (TextSpan((token,)),))])[0] for token in AFTER]
    (again,) = backend.append([Append(branch, (TextSpan(BETWEEN), span, TextSpan(AFTER)))])
    for sequence in (trunk, branch):
        backend.close_sequence(sequence)
    expected = reference.logits(BEFORE, shown, AFTER)[-len(AFTER) :]
    np.testing.assert_allclose(
        np.stack([row for row in steps if row is not None]), expected, atol=2e-3
    )
    twice = reference.logits(BEFORE, shown, BETWEEN, shown, AFTER)[-1]
    assert again is not None
    np.testing.assert_allclose(again, twice, atol=2e-3)


def test_every_position_of_a_row(
    reference: Reference, exported: Exported, encoder: PictureEncoder
) -> None:
    """The pass that importance matrices are computed in places pictures alike."""
    shown = picture((140, 252), 4)
    (span,) = encoder.spans(shown)
    options = ForwardOptions(n_ctx=256, n_batch=20, n_threads=1)
    with ForwardPass(exported.language_model, options) as forward:
        rows = [
            logits.copy() for logits in forward.logits((TextSpan(BEFORE), span, TextSpan(AFTER)))
        ]
    expected = reference.logits(BEFORE, shown, AFTER)
    np.testing.assert_allclose(np.concatenate(rows), expected, atol=0.02)  # its cache is F16


@pytest.mark.parametrize("shape", [(1, 30, 56, 3), (1, 56, 30, 3), (1, 0, 56, 3), (56, 56, 3)])
def test_pictures_that_the_tower_does_not_take(
    backend: LlamaCppBackend, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ImageError, match="multiples of 28"):
        backend.encode_tiles(np.zeros(shape, dtype=np.uint8))


def test_what_the_files_say(exported: Exported) -> None:
    model = GGUFReader(exported.language_model)
    assert model.fields["general.architecture"].contents() == "qwen2vl"
    assert model.fields["qwen2vl.rope.dimension_sections"].contents() == [2, 3, 3, 0]
    tower = GGUFReader(exported.mmproj)
    assert tower.fields["clip.projector_type"].contents() == "qwen2.5vl_merger"
    assert tower.fields["clip.vision.n_wa_pattern"].contents() == 2


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    edit(config["vision_config"])
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"window_size": 56}, "window_size is 56"),
        ({"fullatt_block_indexes": [0, 3]}, "fullatt_block_indexes is"),
        ({"fullatt_block_indexes": [3, 1]}, "fullatt_block_indexes is"),
        ({"fullatt_block_indexes": [1]}, "fullatt_block_indexes is"),
        ({"fullatt_block_indexes": []}, "fullatt_block_indexes is"),
        ({"fullatt_block_indexes": 3}, "fullatt_block_indexes is"),
        ({"num_heads": "2"}, "num_heads is"),
    ],
)
def test_towers_that_llama_cpp_would_compute_otherwise(
    reference: Reference, tmp_path: Path, edit: dict[str, Any], message: str
) -> None:
    folder = Path(shutil.copytree(reference.folder, tmp_path / "copy"))
    change(folder, lambda vision: vision.update(edit))
    with (
        Checkpoint.open(folder) as checkpoint,
        pytest.raises(ArtifactError, match=message) as caught,
    ):
        write_checkpoint_mmproj(checkpoint, tmp_path / "mmproj.gguf")
    assert "hf" in caught.value.hint
    assert not (tmp_path / "mmproj.gguf").exists()


# peft 0.21 reads an attribute that transformers 5.23 has renamed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_as_peft_saves_it(
    reference: Reference, exported: Exported, encoder: PictureEncoder, tmp_path: Path
) -> None:
    model = copy.deepcopy(reference.model)  # PEFT changes the model that it is given
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=r".*language_model.*(q|k|v|o|gate|up|down)_proj",
        init_lora_weights=False,
    )
    adapted = get_peft_model(model, config)
    adapted.save_pretrained(tmp_path / "adapter")
    with Checkpoint.open(reference.folder) as checkpoint:
        write_adapter(tmp_path / "adapter", checkpoint, tmp_path / "lora.gguf", float_type="F32")
    opened = LlamaCppBackend(
        exported.language_model, adapters=[tmp_path / "lora.gguf"], options=OPTIONS
    )
    shown = picture((140, 252))
    (span,) = encoder.spans(shown)
    found = decode(opened, TextSpan(BEFORE), span, TextSpan(AFTER))
    opened.close()
    merged = Reference(adapted.merge_and_unload(), reference.folder)
    expected = merged.logits(BEFORE, shown, AFTER)[-1]
    assert np.abs(expected - reference.logits(BEFORE, shown, AFTER)[-1]).max() > 0.3
    np.testing.assert_allclose(found, expected, atol=2e-3)
