"""A checkpoint folder, exported, computes in llama.cpp what transformers computes from the folder.

Whole critics are compared: text, and pictures through tiling, unpadding and newline. Measured in
standard deviations of the logits (1 with a head, 8 with a tied one), they differ by 2e-6 on text
and by up to 7e-4 behind a picture (llama.cpp looks GELU up in a table of half precision).
"""

from __future__ import annotations

import copy
import ctypes
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import save_file
from transformers import LlavaOnevisionForConditionalGeneration, LlavaOnevisionImageProcessor

from edgecritic.backends.base import Append, FloatArray, Span, TextSpan
from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.llamacpp.native import load_native
from edgecritic.backends.options import EngineOptions
from edgecritic.errors import ArtifactError
from edgecritic.gguf_header import read_header
from edgecritic.language_layout import tensor_name
from edgecritic.pictures import PictureEncoder, VisionProfile
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.file import FloatType
from edgecritic_export.gguf.language_model import write_language_model
from edgecritic_export.gguf.lora import write_adapter
from edgecritic_export.gguf.mmproj import write_checkpoint_mmproj
from tiny_checkpoints import (
    IMAGE_TOKEN_ID,
    N_VOCAB,
    PATCH_SIZE,
    TILE_SIZE,
    write_llava_onevision,
)

OPTIONS = EngineOptions(
    n_ctx=512, n_threads=1, max_sequences=2, flash_attention=False, cache_type="F32"
)
BEFORE, AFTER = (40, 50, 60, 70, 80), (90, 100, 110, 120)
BASE_VIEW = (TILE_SIZE // PATCH_SIZE) ** 2


@dataclass
class Exported:
    folder: Path
    model: LlavaOnevisionForConditionalGeneration
    checkpoint: Checkpoint
    language_model: Path
    mmproj: Path

    def backend(self) -> LlamaCppBackend:
        return LlamaCppBackend(self.language_model, mmproj=self.mmproj, options=OPTIONS)

    def expected(self, picture: Image.Image | None, n_image_tokens: int = 0) -> FloatArray:
        """(n_vocab,) logits of transformers, behind the last token."""
        ids = torch.tensor([[*BEFORE, *[IMAGE_TOKEN_ID] * n_image_tokens, *AFTER]])
        pixels = {}
        if picture is not None:
            processor = LlavaOnevisionImageProcessor.from_pretrained(self.folder)
            pixels = dict(processor(images=picture, return_tensors="pt"))
        with torch.inference_mode():
            return np.asarray(self.model(input_ids=ids, **pixels).logits[0, -1].numpy())


@pytest.fixture(
    scope="module",
    params=[("qwen2", False), ("qwen2", True), ("llama", False), ("llama", True)],
    ids=["qwen2", "qwen2-tied", "llama", "llama-tied"],
)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exported]:
    torch.set_num_threads(1)
    architecture, tied = request.param
    folder = tmp_path_factory.mktemp(architecture)
    write_llava_onevision(folder, text=architecture, tied=tied, seed=3)
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder)
    model.train(mode=False)
    with Checkpoint.open(folder) as checkpoint:
        made = Exported(folder, model, checkpoint, folder / "lm.gguf", folder / "mmproj.gguf")
        write_language_model(checkpoint, made.language_model, float_type="F32")
        write_checkpoint_mmproj(checkpoint, made.mmproj, float_type="F32")
        yield made


def logits(backend: LlamaCppBackend, *spans: Span) -> FloatArray:
    sequence = backend.open_sequence()
    (found,) = backend.append([Append(sequence, spans)])
    backend.close_sequence(sequence)
    assert found is not None
    return found


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(5).integers(0, 256, size=(height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_text(exported: Exported) -> None:
    backend = exported.backend()
    found = logits(backend, TextSpan(BEFORE), TextSpan(AFTER))
    backend.close()
    expected = exported.expected(None)
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(expected.std()))


# One tile, padding to be removed in either direction, and more features than the limit.
@pytest.mark.parametrize("size", [(28, 28), (70, 31), (20, 61), (90, 85)])
def test_pictures_in_full(exported: Exported, size: tuple[int, int]) -> None:
    geometry, newline = exported.checkpoint.geometry, exported.checkpoint.image_newline
    assert geometry is not None
    assert newline is not None
    backend = exported.backend()
    encoder = PictureEncoder(backend, VisionProfile(geometry, newline, "tower"))
    (span,) = encoder.spans(picture(*size))
    found = logits(backend, TextSpan(BEFORE), span, TextSpan(AFTER))
    backend.close()
    expected = exported.expected(picture(*size), len(span))
    np.testing.assert_allclose(found, expected, atol=2e-3 * float(expected.std()))
    assert np.abs(expected - exported.expected(None)).max() > 0.1 * expected.std()


def test_stock_llama_cpp_reads_both_files(exported: Exported) -> None:
    """Its own tools see the base view: libmtmd alone, from a prompt with a marker to logits."""
    native = load_native()
    llama, mtmd = native.llama, native.mtmd
    model_params = llama.llama_model_default_params()
    model = llama.llama_model_load_from_file(os.fsencode(exported.language_model), model_params)
    params = llama.llama_context_default_params()
    params.n_ctx = 512
    context = llama.llama_init_from_model(model, params)
    settings = mtmd.mtmd_context_params_default()
    settings.n_threads, settings.use_gpu, settings.warmup = 1, False, False
    vision = mtmd.mtmd_init_from_file(os.fsencode(exported.mmproj), model, settings)
    assert vision, native.log.complaint()
    pixels = np.asarray(picture(70, 31)).tobytes()
    buffer = (ctypes.c_uint8 * len(pixels)).from_buffer_copy(pixels)
    bitmap = mtmd.mtmd_bitmap_init(70, 31, buffer)
    prompt = b"<|im_start|>the picture: " + mtmd.mtmd_default_marker() + b"<|im_end|>"
    text = mtmd.mtmd_input_text(
        text=prompt, text_len=len(prompt), add_special=True, parse_special=True
    )
    chunks = mtmd.mtmd_input_chunks_init()
    bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
    assert mtmd.mtmd_tokenize(vision, chunks, ctypes.byref(text), bitmaps, 1) == 0
    lengths = [
        mtmd.mtmd_input_chunk_get_n_tokens(mtmd.mtmd_input_chunks_get(chunks, index))
        for index in range(mtmd.mtmd_input_chunks_size(chunks))
    ]
    past = ctypes.c_int32()
    arguments = (vision, context, chunks, 0, 0, 64, True, ctypes.byref(past))
    assert mtmd.mtmd_helper_eval_chunks(*arguments) == 0, native.log.complaint()
    found = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), shape=(N_VOCAB,))
    assert BASE_VIEW in lengths
    assert past.value == sum(lengths)
    assert np.isfinite(found).all()
    assert found.std() > 0.1
    mtmd.mtmd_input_chunks_free(chunks)
    mtmd.mtmd_bitmap_free(bitmap)
    mtmd.mtmd_free(vision)
    llama.llama_free(context)
    llama.llama_model_free(model)


def test_the_head_is_written_only_where_it_is_its_own(exported: Exported) -> None:
    header = read_header(exported.language_model)
    assert ("output.weight" in header.tensors) is not exported.checkpoint.text.tied
    assert len(header.tensors) == len(exported.checkpoint.language_tensors())


@pytest.mark.parametrize(("float_type", "file_type"), [("F16", 1), ("BF16", 32), ("F32", 0)])
def test_types_of_a_bfloat16_checkpoint(
    tmp_path: Path, float_type: FloatType, file_type: int
) -> None:
    write_llava_onevision(tmp_path, dtype="bfloat16")
    with Checkpoint.open(tmp_path) as checkpoint:
        write_language_model(checkpoint, tmp_path / "lm.gguf", float_type=float_type)
        write_checkpoint_mmproj(checkpoint, tmp_path / "mmproj.gguf", float_type=float_type)
        for name in ("lm.gguf", "mmproj.gguf"):
            header = read_header(tmp_path / name)
            assert header.metadata["general.file_type"] == file_type
            kinds = {len(claim.shape): claim.type_name for claim in header.tensors.values()}
            assert kinds[1] == "F32"
        language = read_header(tmp_path / "lm.gguf").tensors
        matrices = {claim.type_name for claim in language.values() if len(claim.shape) == 2}
        assert matrices == {float_type}
        if float_type == "BF16":  # the very bits
            stored = GGUFReader(tmp_path / "lm.gguf").get_tensor(0).data.view(np.uint16)
            name = checkpoint.language_tensors()["model.embed_tokens.weight"]
            np.testing.assert_array_equal(stored, checkpoint.store.read_raw(name)[1])
    options = EngineOptions(n_ctx=256, n_threads=1, max_sequences=1)
    backend = LlamaCppBackend(
        tmp_path / "lm.gguf", mmproj=tmp_path / "mmproj.gguf", options=options
    )
    tiles = np.zeros((1, TILE_SIZE, TILE_SIZE, 3), dtype=np.uint8)
    assert np.isfinite(backend.encode_tiles(tiles)).all()
    assert np.isfinite(logits(backend, TextSpan(BEFORE))).all()
    backend.close()


def test_the_tokenizer_is_in_the_file(exported: Exported) -> None:
    backend = exported.backend()
    tokens = backend.tokenize("<|im_start|>the 12", control=True)
    assert [backend.token_bytes(token) for token in tokens] == [b"", b"the", b" ", b"1", b"2"]
    assert len(backend.tokenize("<|im_start|>")) > 1
    backend.close()


# peft 0.21 reads an attribute that transformers 5.23 has renamed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_as_peft_saves_it(exported: Exported, tmp_path: Path) -> None:
    model = copy.deepcopy(exported.model)  # PEFT changes the model that it is given
    base = exported.expected(None)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=r".*language_model.*(q|k|v|o|gate|up|down)_proj",
        init_lora_weights=False,
    )
    adapted = get_peft_model(model, config)
    expected = replace(exported, model=adapted).expected(None)
    adapted.save_pretrained(tmp_path / "adapter")
    path = tmp_path / "lora.gguf"
    write_adapter(tmp_path / "adapter", exported.checkpoint, path, float_type="F32")
    backend = LlamaCppBackend(exported.language_model, adapters=[path], options=OPTIONS)
    found = logits(backend, TextSpan(BEFORE), TextSpan(AFTER))
    backend.close()
    assert np.abs(expected - base).max() > base.std() / 2
    np.testing.assert_allclose(found, expected, atol=2e-5 * float(expected.std()))


def test_an_adapter_of_another_model(tmp_path: Path) -> None:
    write_llava_onevision(tmp_path / "model")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    settings = {"lora_alpha": 8, "r": 4, "bias": "none"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    prefix = "base_model.model.model.language_model.layers"
    with Checkpoint.open(tmp_path / "model") as checkpoint:
        for layer, width in ((0, 65), (7, 64)):
            halves = {
                f"{prefix}.{layer}.self_attn.q_proj.lora_A.weight": torch.ones(4, width),
                f"{prefix}.{layer}.self_attn.q_proj.lora_B.weight": torch.ones(64, 4),
            }
            save_file(halves, adapter / "adapter_model.safetensors")
            with pytest.raises(ArtifactError, match=rf"layers\.{layer}\..* is \(4, {width}\)"):
                write_adapter(adapter, checkpoint, tmp_path / "lora.gguf")
        projector = {"base_model.model.model.multi_modal_projector.linear_1.lora_A.weight"}
        save_file(
            {name: torch.ones(4, 64) for name in projector}, adapter / "adapter_model.safetensors"
        )
        with pytest.raises(ArtifactError, match="cannot apply"):
            write_adapter(adapter, checkpoint, tmp_path / "lora.gguf")
        (adapter / "adapter_model.safetensors").unlink()
        with pytest.raises(ArtifactError, match="adapter_model"):
            write_adapter(adapter, checkpoint, tmp_path / "lora.gguf")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.12.self_attn.k_proj.bias", "blk.12.attn_k.bias"),
        ("model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("lm_head.weight", "output.weight"),
    ],
)
def test_names(source: str, target: str) -> None:
    assert tensor_name(source) == target
