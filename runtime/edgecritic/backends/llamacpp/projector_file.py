"""What a vision tower's GGUF file (mmproj) must look like before llama.cpp may open it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecritic.backends.llamacpp.artifacts import WRONG_FILE, LanguageModelFacts
from edgecritic.errors import ArtifactError, shown
from edgecritic.gguf_header import TENSOR_TYPE_NAMES, GgufHeader, read_header
from edgecritic.mmproj_layout import (
    IMAGE_NEWLINE,
    MERGED_PATCHES,
    NativeTowerShape,
    TowerShape,
    native_tensor_shapes,
    tensor_shapes,
)

TILES: Final = "mlp"
"""Projector of a SigLIP tower, which sees tiles of one size."""
NATIVE: Final = "qwen2.5vl_merger"
"""Projector of Qwen2.5-VL's tower, which sees pictures of any size."""
WINDOW: Final = 112
"""Side in pixels of the windows that most of its blocks attend to: llama.cpp knows no other."""

_WRONG_PROJECTOR: Final = "export the vision tower again with edgecritic_export"
_MAX_LAYERS: Final = 256
_MAX_WIDTH: Final = 1 << 16
_EPSILON: Final = (0.0, 0.1)
_NORM_EPSILON: Final = "clip.vision.attention.layer_norm_epsilon"
_KEYS: Final = {
    "clip.has_vision_encoder": "bool",
    "clip.has_audio_encoder": "bool",
    "clip.projector_type": "string",
    "clip.vision.image_size": "uint32",
    "clip.vision.patch_size": "uint32",
    "clip.vision.embedding_length": "uint32",
    "clip.vision.feed_forward_length": "uint32",
    "clip.vision.block_count": "uint32",
    "clip.vision.projection_dim": "uint32",
    "clip.vision.attention.head_count": "uint32",
    _NORM_EPSILON: "float32",
    "clip.vision.image_mean": "array",
    "clip.vision.image_std": "array",
}
_KEYS_OF: Final[Mapping[str, Mapping[str, str]]] = {
    TILES: _KEYS | {"clip.use_gelu": "bool", "clip.vision.feature_layer": "array"},
    NATIVE: _KEYS
    | {
        "clip.use_silu": "bool",
        "clip.vision.n_wa_pattern": "uint32",
        "clip.vision.spatial_merge_size": "uint32",
    },
}


@dataclass(frozen=True, slots=True)
class ProjectorFacts:
    """What the header of an mmproj file says.

    Attributes:
        cell_size: side of the square that becomes one feature, in pixels.
        tile_size: side of a tile in pixels; None where the tower takes pictures of any size.
        n_embd: width of a feature, which must be the language model's.
    """

    path: Path
    cell_size: int
    tile_size: int | None
    n_embd: int

    def features_of(self, height: int, width: int) -> int:
        """Features of a tile of so many pixels."""
        return (height // self.cell_size) * (width // self.cell_size)


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
            WRONG_FILE,
        )
    wanted = NATIVE if language_model.grid_positions else TILES
    projector = header.text("clip.projector_type")
    if projector != wanted:
        raise ArtifactError(
            f"{path}: projector {shown(projector)} is not {wanted!r}, which goes with a "
            f"{language_model.architecture} language model",
            _WRONG_PROJECTOR,
        )
    _check_keys(header, _KEYS_OF[projector])
    facts = _tile_facts(header) if projector == TILES else _native_facts(header)
    if facts.n_embd != language_model.n_embd:
        raise ArtifactError(
            f"{path} gives features of width {facts.n_embd}, "
            f"{language_model.path} has width {language_model.n_embd}",
            "use the mmproj that was exported with this language model",
        )
    return facts


def _check_keys(header: GgufHeader, keys: Mapping[str, str]) -> None:
    for key, stored_as in header.types.items():
        if key.startswith("clip.") and keys.get(key) != stored_as:
            raise ArtifactError(
                f"{header.path}: {shown(key)} of type {stored_as} is not expected here",
                _WRONG_PROJECTOR,
            )
    missing = keys.keys() - header.types.keys() - {"clip.has_audio_encoder"}
    if missing:
        raise ArtifactError(f"{header.path}: {sorted(missing)[0]} is missing", _WRONG_PROJECTOR)
    header.number(_NORM_EPSILON, *_EPSILON)
    _check_facts(
        header,
        {
            "clip.has_vision_encoder": header.metadata["clip.has_vision_encoder"] is True,
            "clip.has_audio_encoder": not header.metadata.get("clip.has_audio_encoder", False),
            **{
                key: header.array(key, "float32").length == 3
                for key in ("clip.vision.image_mean", "clip.vision.image_std")
            },
        },
    )


def _check_facts(header: GgufHeader, facts: Mapping[str, bool]) -> None:
    for key, holds in facts.items():
        if not holds:
            raise ArtifactError(
                f"{header.path}: {key} is {shown(header.metadata.get(key))}", _WRONG_PROJECTOR
            )


@dataclass(frozen=True, slots=True)
class _Widths:
    n_blocks: int
    patch_size: int
    width: int
    hidden: int
    n_heads: int


def _widths(header: GgufHeader, *, patch_limit: int) -> _Widths:
    widths = _Widths(
        n_blocks=header.count("clip.vision.block_count", limit=_MAX_LAYERS),
        patch_size=header.count("clip.vision.patch_size", limit=patch_limit),
        width=header.count("clip.vision.embedding_length", limit=_MAX_WIDTH),
        hidden=header.count("clip.vision.feed_forward_length", limit=_MAX_WIDTH),
        n_heads=header.count("clip.vision.attention.head_count", limit=_MAX_WIDTH),
    )
    # Equal widths make llama.cpp swap ffn_up and ffn_down.
    if widths.width % widths.n_heads or widths.width == widths.hidden:
        raise ArtifactError(
            f"{header.path}: width {widths.width}, {widths.n_heads} heads, feed-forward width "
            f"{widths.hidden} do not go together",
            _WRONG_PROJECTOR,
        )
    return widths


def _tile_facts(header: GgufHeader) -> ProjectorFacts:
    shape = tower_shape(header)
    tile_size = header.count("clip.vision.image_size", limit=4096)
    last = header.array("clip.vision.feature_layer", "int32").items
    _check_facts(
        header,
        {
            "clip.use_gelu": header.metadata["clip.use_gelu"] is True,
            # Without it llama.cpp leaves the last layer out (the convention of LLaVA 1.5).
            "clip.vision.feature_layer": last == (shape.n_blocks,),
        },
    )
    _check_tensors(header, tensor_shapes(shape), optional={IMAGE_NEWLINE})
    return ProjectorFacts(header.path, shape.patch_size, tile_size, shape.outer)


def tower_shape(header: GgufHeader) -> TowerShape:
    """The numbers of a SigLIP tower with an ``mlp`` projector."""
    tile_size = header.count("clip.vision.image_size", limit=4096)
    patch_size = header.count("clip.vision.patch_size", limit=tile_size)
    widths = _widths(header, patch_limit=tile_size)
    return TowerShape(
        n_blocks=widths.n_blocks,
        patch_size=patch_size,
        patches=(tile_size // patch_size) ** 2,
        width=widths.width,
        hidden=widths.hidden,
        inner=header.tensor("mm.0.weight").shape[-1],
        outer=header.tensor("mm.2.weight").shape[-1],
        n_heads=widths.n_heads,
        epsilon=header.number(_NORM_EPSILON, *_EPSILON),
    )


def _native_facts(header: GgufHeader) -> ProjectorFacts:
    header.count("clip.vision.image_size", limit=1 << 16)  # llama.cpp asks for it, and is told more
    # Larger patches would leave a window without a single feature.
    widths = _widths(header, patch_limit=WINDOW // MERGED_PATCHES)
    _check_facts(
        header,
        {
            "clip.use_silu": header.metadata["clip.use_silu"] is True,
            "clip.vision.spatial_merge_size": header.metadata["clip.vision.spatial_merge_size"]
            == MERGED_PATCHES,
            # Rows and columns turn a quarter of a head each, by pairs.
            "clip.vision.attention.head_count": widths.width // widths.n_heads % 4 == 0,
        },
    )
    header.count("clip.vision.n_wa_pattern", limit=_MAX_LAYERS)
    shape = NativeTowerShape(
        n_blocks=widths.n_blocks,
        patch_size=widths.patch_size,
        width=widths.width,
        hidden=widths.hidden,
        outer=header.count("clip.vision.projection_dim", limit=_MAX_WIDTH),
    )
    _check_tensors(header, native_tensor_shapes(shape))
    return ProjectorFacts(header.path, widths.patch_size * MERGED_PATCHES, None, shape.outer)


def _check_tensors(
    header: GgufHeader,
    expected: Mapping[str, tuple[int, ...]],
    optional: Container[str] = (),
) -> None:
    for name, numpy_shape in expected.items():
        claim = header.tensor(name)
        if claim.shape != numpy_shape[::-1] or claim.type_name not in _allowed_types(numpy_shape):
            raise ArtifactError(
                f"{header.path}: {name} is {claim.type_name} {claim.shape}, "
                f"expected {numpy_shape[::-1]}",
                _WRONG_PROJECTOR,
            )
    for name in sorted(header.tensors.keys() - expected.keys()):
        if name not in optional:
            raise ArtifactError(
                f"{header.path}: tensor {shown(name)} is not expected", _WRONG_PROJECTOR
            )


def _allowed_types(shape: tuple[int, ...]) -> Container[str]:
    """Types with which ggml computes: it adds and convolves unquantized tensors only."""
    if len(shape) == 1:
        return ("F32",)
    return TENSOR_TYPE_NAMES if len(shape) == 2 else ("F32", "F16")
