"""Each single claim that llama.cpp would trust, made false in an otherwise good header."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecritic.backends.llamacpp import artifacts, projector_file
from edgecritic.backends.llamacpp.artifacts import (
    LanguageModelFacts,
    check_adapter,
    check_language_model,
)
from edgecritic.backends.llamacpp.projector_file import check_projector
from edgecritic.bundle import Bundle
from edgecritic.errors import ArtifactError
from edgecritic.gguf_header import ArrayClaim, GgufHeader, Scalar, TensorClaim, read_header
from tiny_checkpoints import write_qwen2_5_vl
from tiny_engines import write_gguf_bundle
from tiny_models import TinyModels

FLOATS = ArrayClaim("float32", 2, (0.5, 0.5), 1)


@pytest.fixture
def facts(tiny_models: TinyModels) -> LanguageModelFacts:
    return check_language_model(tiny_models.language_model)


def claim(
    monkeypatch: pytest.MonkeyPatch,
    header: GgufHeader,
    key: str,
    value: Scalar | ArrayClaim | None,
    stored_as: str = "",
) -> None:
    """Let the checks see `header` with one key changed, or without it."""
    metadata = {name: old for name, old in header.metadata.items() if name != key}
    types = {name: old for name, old in header.types.items() if name != key}
    if value is not None:
        metadata[key] = value
        types[key] = stored_as or header.types[key]
    changed = replace(header, metadata=metadata, types=types)
    for module in (artifacts, projector_file):
        monkeypatch.setattr(module, "read_header", lambda _: changed)


def test_the_facts_of_good_files(tiny_models: TinyModels, facts: LanguageModelFacts) -> None:
    assert (facts.architecture, facts.n_embd, facts.n_vocab) == ("llama", 64, 264)
    tower = check_projector(tiny_models.mmproj, facts)
    assert (tower.tile_size, tower.features_of(28, 28), tower.n_embd) == (28, 16, 64)
    check_adapter(tiny_models.adapter, facts)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("llama.attention.head_count", 7, "width 64 with 7 heads"),
        ("llama.attention.head_count_kv", 3, "3 key heads"),
        ("llama.attention.head_count", None, "head_count should be an integer"),
        ("llama.block_count", 1 << 20, "block_count should be an integer"),
        ("llama.rope.dimension_count", 18, "18 rotated"),
        ("llama.rope.dimension_count", 15, "15 rotated"),
        ("llama.attention.layer_norm_rms_epsilon", -1.0, "rms_epsilon should be a number"),
        ("llama.attention.layer_norm_rms_epsilon", float("nan"), "rms_epsilon should be a number"),
        ("llama.embedding_length", 128, r"token_embd\.weight is \(64, 264\)"),
        ("tokenizer.ggml.model", "bert", "tokenizer 'bert' is not supported"),
        ("tokenizer.ggml.tokens", FLOATS, "should be an array of string"),
        ("tokenizer.ggml.merges", FLOATS, "should be an array of string"),
        ("tokenizer.ggml.token_type", FLOATS, "should be an array of int32"),
        ("tokenizer.ggml.token_type", ArrayClaim("int32", 2, (1, 1), 1), "not as long as the 264"),
    ],
)
def test_language_model(
    tiny_models: TinyModels,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    value: Scalar | ArrayClaim | None,
    message: str,
) -> None:
    claim(monkeypatch, read_header(tiny_models.language_model), key, value)
    with pytest.raises(ArtifactError, match=message):
        check_language_model(tiny_models.language_model)


def test_part_of_a_split_model(tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(monkeypatch, read_header(tiny_models.language_model), "split.count", 3, "uint16")
    with pytest.raises(ArtifactError, match="one part of a split model"):
        check_language_model(tiny_models.language_model)


@pytest.mark.parametrize(
    ("key", "value", "stored_as", "message"),
    [
        ("clip.projector_type", "ldp", "", "projector 'ldp' is not 'mlp'"),
        ("clip.vision.patch_size", 8, "", r"expected \(8, 8, 3, 32\)"),
        ("clip.vision.image_size", 35, "", r"position_embd\.weight is F32 \(32, 16\)"),
        ("clip.vision.patch_size", 7, "uint64", "of type uint64 is not expected"),
        ("clip.vision.image_grid_pinpoints", FLOATS, "array", "is not expected here"),
        ("clip.vision.attention.head_count", 5, "", "5 heads"),
        ("clip.vision.attention.layer_norm_epsilon", -1e-6, "", "should be a number"),
        ("clip.vision.feed_forward_length", 32, "", "do not go together"),
        ("clip.vision.block_count", 3, "", "feature_layer is"),
        ("clip.vision.image_std", FLOATS, "", "image_std is"),
        ("clip.has_vision_encoder", False, "", "has_vision_encoder is False"),
        ("clip.has_audio_encoder", True, "bool", "has_audio_encoder is True"),
        ("clip.use_gelu", False, "", "use_gelu is False"),
        ("clip.vision.projection_dim", None, "", "projection_dim is missing"),
    ],
)
def test_projector(
    *,
    tiny_models: TinyModels,
    facts: LanguageModelFacts,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    value: Scalar | ArrayClaim | None,
    stored_as: str,
    message: str,
) -> None:
    claim(monkeypatch, read_header(tiny_models.mmproj), key, value, stored_as)
    with pytest.raises(ArtifactError, match=message):
        check_projector(tiny_models.mmproj, facts)


@pytest.mark.parametrize(
    ("name", "type_name", "message"),
    [
        ("v.blk.0.attn_q.bias", "F16", r"attn_q\.bias is F16"),
        ("v.patch_embd.weight", "Q8_0", r"patch_embd\.weight is Q8_0"),
        ("v.class_embd", "F32", r"v\.class_embd' is not expected"),
    ],
)
def test_projector_tensors(
    *,
    tiny_models: TinyModels,
    facts: LanguageModelFacts,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    type_name: str,
    message: str,
) -> None:
    header = read_header(tiny_models.mmproj)
    old = header.tensors.get(name, TensorClaim(name, (32,), "F32", 128, 0))
    tensors = header.tensors | {name: replace(old, type_name=type_name)}
    monkeypatch.setattr(projector_file, "read_header", lambda _: replace(header, tensors=tensors))
    with pytest.raises(ArtifactError, match=message):
        check_projector(tiny_models.mmproj, facts)


@pytest.mark.parametrize(
    ("key", "value", "stored_as", "message"),
    [
        ("adapter.type", "control_vector", "", "no LoRA adapter"),
        ("adapter.lora.alpha", 8.0, "float64", "no LoRA adapter"),
        ("adapter.lora.alpha", None, "", "no LoRA adapter"),
        ("general.architecture", "qwen2", "", "adapts 'qwen2'"),
    ],
)
def test_adapter(
    *,
    tiny_models: TinyModels,
    facts: LanguageModelFacts,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    value: Scalar | None,
    stored_as: str,
    message: str,
) -> None:
    claim(monkeypatch, read_header(tiny_models.adapter), key, value, stored_as)
    with pytest.raises(ArtifactError, match=message):
        check_adapter(tiny_models.adapter, facts)


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Qwen2.5-VL's files."""
    folder = tmp_path_factory.mktemp("native")
    write_qwen2_5_vl(folder / "checkpoint")
    return write_gguf_bundle(folder / "checkpoint", folder / "made")


SECTIONS = "qwen2vl.rope.dimension_sections"


def sections(*pairs: int) -> ArrayClaim:
    return ArrayClaim("int32", len(pairs), pairs, len(pairs))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (SECTIONS, sections(2, 3, 3)),
        (SECTIONS, sections(2, 3, 2, 1)),
        (SECTIONS, sections(2, 3, 4, 0)),
        (SECTIONS, sections(9, -1, 0, 0)),
        (SECTIONS, None),
        ("qwen2vl.rope.dimension_count", 8),
    ],
)
def test_sections_of_rows_and_columns(
    native: Bundle, monkeypatch: pytest.MonkeyPatch, key: str, value: Scalar | ArrayClaim | None
) -> None:
    path = native.file("language_model")
    assert check_language_model(path).grid_positions
    claim(monkeypatch, read_header(path), key, value)
    with pytest.raises(ArtifactError, match="dimension_sections"):
        check_language_model(path)


@pytest.mark.parametrize(
    ("key", "value", "stored_as", "message"),
    [
        ("clip.projector_type", "mlp", "", "projector 'mlp' is not"),
        ("clip.use_silu", False, "", "use_silu is False"),
        ("clip.use_gelu", True, "bool", "is not expected here"),
        ("clip.vision.spatial_merge_size", 3, "", "spatial_merge_size is 3"),
        ("clip.vision.n_wa_pattern", 0, "", "n_wa_pattern should be"),
        ("clip.vision.n_wa_pattern", None, "", "n_wa_pattern is missing"),
        ("clip.vision.patch_size", 57, "", "patch_size should be"),
        ("clip.vision.patch_size", 7, "", r"patch_embd\.weight is F32"),
        ("clip.vision.attention.head_count", 16, "", "head_count is 16"),
        ("clip.vision.attention.head_count", 3, "", "3 heads"),
        ("clip.vision.feed_forward_length", 32, "", "do not go together"),
        ("clip.vision.block_count", 5, "", r"v\.blk\.4"),
        ("clip.vision.block_count", 3, "", r"v\.blk\.3\..* is not expected"),
        ("clip.vision.projection_dim", 128, "", r"mm\.2\.weight is F32"),
    ],
)
def test_native_projector(
    *,
    native: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    value: Scalar | None,
    stored_as: str,
    message: str,
) -> None:
    facts = check_language_model(native.file("language_model"))
    path = native.file("mmproj")
    tower = check_projector(path, facts)
    assert (tower.tile_size, tower.cell_size, tower.n_embd) == (None, 28, 64)
    claim(monkeypatch, read_header(path), key, value, stored_as)
    with pytest.raises(ArtifactError, match=message):
        check_projector(path, facts)
