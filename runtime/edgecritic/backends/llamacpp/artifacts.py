"""What each GGUF file must look like before llama.cpp may open it.

llama.cpp's loader reports most defects of a language model as errors, but its image loader and
its compute graphs assert: a tensor of the wrong shape ends the process. So architectures and
projector types are allow-listed, and everything that an assertion would test is tested here.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edgecritic.errors import ArtifactError, shown
from edgecritic.gguf_header import TENSOR_TYPE_NAMES, GgufHeader, read_header
from edgecritic.mmproj_layout import IMAGE_NEWLINE, TowerShape, tensor_shapes

LANGUAGE_MODELS: Final = ("llama", "qwen2")
TOKENIZER: Final = "gpt2"  # byte-level BPE, of SmolLM2 and Qwen2
NORMALIZER: Final = "edgecritic.tokenizer.normalizer"
"""A key of our own, since llama.cpp does not normalise text: ``NFC``, or left out for nothing."""

_WRONG_FILE: Final = "check the bundle's files: this one has another role"
_WRONG_PROJECTOR: Final = "export the vision tower again with edgecritic_export"
_MAX_LAYERS: Final = 256
_MAX_WIDTH: Final = 1 << 16
_EPSILON: Final = (0.0, 0.1)
_PROJECTOR_KEYS: Final = {
    "clip.has_vision_encoder": "bool",
    "clip.has_audio_encoder": "bool",
    "clip.projector_type": "string",
    "clip.use_gelu": "bool",
    "clip.vision.image_size": "uint32",
    "clip.vision.patch_size": "uint32",
    "clip.vision.embedding_length": "uint32",
    "clip.vision.feed_forward_length": "uint32",
    "clip.vision.block_count": "uint32",
    "clip.vision.projection_dim": "uint32",
    "clip.vision.attention.head_count": "uint32",
    "clip.vision.attention.layer_norm_epsilon": "float32",
    "clip.vision.feature_layer": "array",
    "clip.vision.image_mean": "array",
    "clip.vision.image_std": "array",
}


@dataclass(frozen=True, slots=True)
class LanguageModelFacts:
    """What the header of a language model says.

    Attributes:
        path: the file.
        architecture: of `LANGUAGE_MODELS`.
        n_embd: width of the embeddings.
        n_vocab: tokens.
        normalizer: what a text must be normalised by before it is tokenized.
    """

    path: Path
    architecture: str
    n_embd: int
    n_vocab: int
    normalizer: Literal["NFC"] | None


@dataclass(frozen=True, slots=True)
class ProjectorFacts:
    """What the header of an mmproj file says.

    Attributes:
        tile_size: side of a tile in pixels.
        patches: features of a tile.
        n_embd: width of a feature, which must be the language model's.
    """

    path: Path
    tile_size: int
    patches: int
    n_embd: int


def check_language_model(path: Path) -> LanguageModelFacts:
    """Check the header of a language model.

    Raises:
        ArtifactError: it is none, of an architecture that is not allow-listed, or inconsistent.
    """
    header = read_header(path)
    architecture = header.text("general.architecture")
    if architecture not in LANGUAGE_MODELS or header.metadata.get("general.type") == "adapter":
        raise ArtifactError(
            f"{path} is no language model of a supported architecture: it is "
            f"{shown(architecture)}, supported are {', '.join(LANGUAGE_MODELS)}",
            _WRONG_FILE,
        )
    if "split.count" in header.metadata:
        raise ArtifactError(f"{path} is one part of a split model", "merge its parts into one file")
    n_embd = header.count(f"{architecture}.embedding_length", limit=_MAX_WIDTH)
    n_head = header.count(f"{architecture}.attention.head_count", limit=_MAX_WIDTH)
    n_head_kv = header.count(
        f"{architecture}.attention.head_count_kv", default=n_head, limit=n_head
    )
    header.count(f"{architecture}.block_count", limit=_MAX_LAYERS)
    header.number(f"{architecture}.attention.layer_norm_rms_epsilon", *_EPSILON)
    head_dim = n_embd // n_head
    rotated = header.count(
        f"{architecture}.rope.dimension_count", default=head_dim, limit=_MAX_WIDTH
    )
    if n_embd % n_head or n_head % n_head_kv or rotated > head_dim or rotated % 2:
        raise ArtifactError(
            f"{path}: width {n_embd} with {n_head} heads, {n_head_kv} key heads and "
            f"{rotated} rotated dimensions is impossible",
            _WRONG_FILE,
        )
    n_vocab = _check_vocabulary(header, n_embd)
    return LanguageModelFacts(path, architecture, n_embd, n_vocab, _normalizer(header))


def _check_vocabulary(header: GgufHeader, n_embd: int) -> int:
    tokenizer = header.text("tokenizer.ggml.model")
    if tokenizer != TOKENIZER:
        raise ArtifactError(
            f"{header.path}: tokenizer {shown(tokenizer)} is not supported, only {TOKENIZER!r} is",
            _WRONG_FILE,
        )
    tokens = header.array("tokenizer.ggml.tokens", "string")
    n_vocab = tokens.length
    if tokens.distinct != n_vocab:
        raise ArtifactError(
            f"{header.path}: {n_vocab - tokens.distinct} tokens appear twice", _WRONG_FILE
        )
    for key, item_type in (("token_type", "int32"), ("scores", "float32")):
        full_key = f"tokenizer.ggml.{key}"
        if full_key in header.metadata and header.array(full_key, item_type).length != n_vocab:
            raise ArtifactError(
                f"{header.path}: {full_key} is not as long as the {n_vocab} tokens", _WRONG_FILE
            )
    if "tokenizer.ggml.merges" in header.metadata:
        header.array("tokenizer.ggml.merges", "string")
    embeddings = header.tensor("token_embd.weight").shape
    if embeddings != (n_embd, n_vocab):
        raise ArtifactError(
            f"{header.path}: token_embd.weight is {embeddings}, expected {(n_embd, n_vocab)}",
            _WRONG_FILE,
        )
    return n_vocab


def _normalizer(header: GgufHeader) -> Literal["NFC"] | None:
    if NORMALIZER not in header.metadata:
        return None
    if header.metadata[NORMALIZER] == "NFC":
        return "NFC"
    raise ArtifactError(
        f"{header.path}: its text is normalised by {shown(header.metadata[NORMALIZER])}, "
        "which this runtime does not know",
        "upgrade edgecritic, or export the critic again",
    )


def check_projector(path: Path, language_model: LanguageModelFacts) -> ProjectorFacts:
    """Check the header of an mmproj file, and that it fits the language model.

    Raises:
        ArtifactError: it is none, has another projector, wrong shapes, or another width.
    """
    header = read_header(path)
    architecture = header.text("general.architecture")
    if architecture != "clip":
        raise ArtifactError(
            f"{path} is no vision tower (mmproj): its architecture is {shown(architecture)}",
            _WRONG_FILE,
        )
    _check_projector_keys(header)
    projector = header.text("clip.projector_type")
    if projector != "mlp":
        raise ArtifactError(f"{path}: projector {shown(projector)} is not 'mlp'", _WRONG_FILE)
    tile_size = header.count("clip.vision.image_size", limit=4096)
    patch_size = header.count("clip.vision.patch_size", limit=tile_size)
    if tile_size % patch_size:
        raise ArtifactError(
            f"{path}: tiles of {tile_size} pixels are no multiple of patches of {patch_size}",
            _WRONG_PROJECTOR,
        )
    header.number("clip.vision.attention.layer_norm_epsilon", *_EPSILON)
    patches = (tile_size // patch_size) ** 2
    n_embd = _check_projector_tensors(header, patches, patch_size)
    if n_embd != language_model.n_embd:
        raise ArtifactError(
            f"{path} gives features of width {n_embd}, "
            f"{language_model.path} has width {language_model.n_embd}",
            "use the mmproj that was exported with this language model",
        )
    return ProjectorFacts(path, tile_size, patches, n_embd)


def _check_projector_keys(header: GgufHeader) -> None:
    for key, stored_as in header.types.items():
        if key.startswith("clip.") and _PROJECTOR_KEYS.get(key) != stored_as:
            raise ArtifactError(
                f"{header.path}: {shown(key)} of type {stored_as} is not expected here",
                _WRONG_PROJECTOR,
            )
    missing = _PROJECTOR_KEYS.keys() - header.types.keys() - {"clip.has_audio_encoder"}
    if missing:
        raise ArtifactError(f"{header.path}: {sorted(missing)[0]} is missing", _WRONG_PROJECTOR)
    n_blocks = header.count("clip.vision.block_count", limit=_MAX_LAYERS)
    facts = {
        "clip.has_vision_encoder": header.metadata["clip.has_vision_encoder"] is True,
        "clip.has_audio_encoder": not header.metadata.get("clip.has_audio_encoder", False),
        "clip.use_gelu": header.metadata["clip.use_gelu"] is True,
        # Without it llama.cpp leaves the last layer out (the convention of LLaVA 1.5).
        "clip.vision.feature_layer": header.array("clip.vision.feature_layer", "int32").items
        == (n_blocks,),
        "clip.vision.image_mean": header.array("clip.vision.image_mean", "float32").length == 3,
        "clip.vision.image_std": header.array("clip.vision.image_std", "float32").length == 3,
    }
    for key, holds in facts.items():
        if not holds:
            raise ArtifactError(
                f"{header.path}: {key} is {shown(header.metadata.get(key))}", _WRONG_PROJECTOR
            )


def _check_projector_tensors(header: GgufHeader, patches: int, patch_size: int) -> int:
    width = header.count("clip.vision.embedding_length", limit=_MAX_WIDTH)
    hidden = header.count("clip.vision.feed_forward_length", limit=_MAX_WIDTH)
    n_heads = header.count("clip.vision.attention.head_count", limit=width)
    if width % n_heads or width == hidden:  # equal widths make llama.cpp swap ffn_up and ffn_down
        raise ArtifactError(
            f"{header.path}: width {width}, {n_heads} heads, feed-forward width {hidden} "
            "do not go together",
            _WRONG_PROJECTOR,
        )
    shape = TowerShape(
        n_blocks=header.count("clip.vision.block_count", limit=_MAX_LAYERS),
        patch_size=patch_size,
        patches=patches,
        width=width,
        hidden=hidden,
        inner=header.tensor("mm.0.weight").shape[-1],
        outer=header.tensor("mm.2.weight").shape[-1],
    )
    expected = tensor_shapes(shape)
    for name, numpy_shape in expected.items():
        claim = header.tensor(name)
        if claim.shape != numpy_shape[::-1] or claim.type_name not in _allowed_types(numpy_shape):
            raise ArtifactError(
                f"{header.path}: {name} is {claim.type_name} {claim.shape}, "
                f"expected {numpy_shape[::-1]}",
                _WRONG_PROJECTOR,
            )
    extra = header.tensors.keys() - expected.keys() - {IMAGE_NEWLINE}
    if extra:
        raise ArtifactError(
            f"{header.path}: tensor {shown(sorted(extra)[0])} is not expected", _WRONG_PROJECTOR
        )
    return shape.outer


def _allowed_types(shape: tuple[int, ...]) -> Container[str]:
    """Types with which ggml computes: it adds and convolves unquantized tensors only."""
    if len(shape) == 1:
        return ("F32",)
    return TENSOR_TYPE_NAMES if len(shape) == 2 else ("F32", "F16")


def check_adapter(path: Path, language_model: LanguageModelFacts) -> None:
    """Check the header of a LoRA adapter.

    That its tensors fit the language model is checked by llama.cpp, which reports it.

    Raises:
        ArtifactError: it is none, or for another architecture.
    """
    header = read_header(path)
    role = (header.metadata.get("general.type"), header.metadata.get("adapter.type"))
    if role != ("adapter", "lora") or header.types.get("adapter.lora.alpha") != "float32":
        raise ArtifactError(f"{path} is no LoRA adapter", _WRONG_FILE)
    architecture = header.text("general.architecture")
    if architecture != language_model.architecture:
        raise ArtifactError(
            f"{path} adapts {shown(architecture)}, "
            f"{language_model.path} is {shown(language_model.architecture)}",
            "use the adapter that was exported for this language model",
        )
