"""Qwen2.5-VL's vision tower and merger as an mmproj GGUF for llama.cpp."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgecritic.backends.llamacpp.projector_file import NATIVE, WINDOW
from edgecritic.errors import ArtifactError, shown
from edgecritic.mmproj_layout import MERGED_PATCHES, NativeTowerShape, native_tensor_shapes
from edgecritic.vision import NativeGeometry
from edgecritic_export.checkpoints.tensors import Bits
from edgecritic_export.gguf.file import FILE_TYPES, FloatType, TensorSource, Value, write_gguf

if TYPE_CHECKING:
    from edgecritic_export.checkpoints.folder import Checkpoint

_BLOCK: Final = re.compile(r"blocks\.(\d+)\.([a-z0-9_.]+)\.(weight|bias)")
_BLOCK_NAMES: Final = {
    "norm1": "ln1",
    "norm2": "ln2",
    "attn.proj": "attn_out",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_MERGER_NAMES: Final = {"ln_q": "v.post_ln", "mlp.0": "mm.0", "mlp.2": "mm.2"}
_PATCHES: Final = "patch_embed.proj.weight"
_QKV: Final = "attn.qkv"
_EPSILON: Final = 1e-6  # of the tower's norms, which config.json does not name
_NOMINAL_SIZE: Final = 560  # llama.cpp asks for a size of pictures, and takes any
_HINT: Final = "judge with backend='hf', which computes any tower of the family"


@dataclass(frozen=True, slots=True)
class _Source:
    """A part of a stored tensor."""

    stored: str
    shape: tuple[int, ...]
    change: Callable[[Bits], Bits] | None = None


def write_native_tower(
    checkpoint: Checkpoint, path: Path, *, float_type: FloatType, name: str
) -> None:
    """Write the mmproj file of a Qwen2.5-VL checkpoint, tensor by tensor.

    Matrices are stored in `float_type`; biases and norms, which are small, in F32.

    Args:
        checkpoint: open, of the family ``qwen2_5_vl``.
        path: the file to make.
        float_type: ``"BF16"`` loses nothing of a BF16 checkpoint; in ``"F16"`` the feed-forward
            layers of some overflow on GPUs that also sum up in half precision.
        name: ``general.name``.

    Raises:
        ArtifactError: llama.cpp would compute something else, or a weight overflows.
    """
    vision, geometry = checkpoint.config.get("vision_config") or {}, checkpoint.geometry
    if not isinstance(geometry, NativeGeometry):
        raise ArtifactError(f"{checkpoint.folder} is no Qwen2.5-VL checkpoint", _HINT)
    shape = _shape(checkpoint, geometry)
    sources = dict(_sources(checkpoint))
    tensors = {
        target: TensorSource.stored(
            checkpoint.store,
            source.stored,
            _stored_as(source.shape, float_type),
            source.change,
            source.shape,
        )
        for target, source in sources.items()
    }
    found = {target: source.shape for target, source in sources.items()}
    if found != (expected := native_tensor_shapes(shape)):
        odd = sorted(found.items() ^ expected.items())[0][0]
        raise ArtifactError(
            f"{checkpoint.folder}: vision tensor {odd} is {found.get(odd)}, llama.cpp takes "
            f"{expected.get(odd)}",
            _HINT,
        )
    metadata: dict[str, Value] = {
        "general.type": "mmproj",
        "general.name": name,
        "general.file_type": FILE_TYPES[float_type],
        "clip.has_vision_encoder": True,
        "clip.projector_type": NATIVE,
        "clip.use_silu": True,
        "clip.vision.image_size": _NOMINAL_SIZE,
        "clip.vision.patch_size": shape.patch_size,
        "clip.vision.spatial_merge_size": MERGED_PATCHES,
        "clip.vision.embedding_length": shape.width,
        "clip.vision.feed_forward_length": shape.hidden,
        "clip.vision.block_count": shape.n_blocks,
        "clip.vision.projection_dim": shape.outer,
        "clip.vision.attention.head_count": _number(vision, "num_heads", 16),
        "clip.vision.attention.layer_norm_epsilon": _EPSILON,
        "clip.vision.n_wa_pattern": _window_pattern(vision, geometry, shape.n_blocks),
        "clip.vision.image_mean": geometry.mean,
        "clip.vision.image_std": geometry.std,
    }
    write_gguf(path, "clip", metadata, dict(sorted(tensors.items())))


def _shape(checkpoint: Checkpoint, geometry: NativeGeometry) -> NativeTowerShape:
    """The checkpoint has compared these shapes with its config.json."""
    vision = checkpoint.vision_tensors()
    blocks = {int(match[1]) for short in vision if (match := _BLOCK.fullmatch(short))}
    shape = NativeTowerShape(
        n_blocks=len(blocks),
        patch_size=geometry.patch_size,
        width=checkpoint.store.shape(vision[_PATCHES])[0],
        hidden=checkpoint.store.shape(vision["blocks.0.mlp.up_proj.weight"])[0],
        outer=checkpoint.text.n_embd,
    )
    if shape.hidden == shape.width:
        raise ArtifactError(
            f"{checkpoint.folder}: feed-forward width {shape.hidden} equals the tower's width, and "
            "llama.cpp would swap the two feed-forward layers",
            _HINT,
        )
    if geometry.merge_size != MERGED_PATCHES:
        raise ArtifactError(
            f"{checkpoint.folder}: {geometry.merge_size} patches along a feature, llama.cpp knows "
            f"{MERGED_PATCHES} only",
            _HINT,
        )
    return shape


def _window_pattern(vision: Mapping[str, object], geometry: NativeGeometry, n_blocks: int) -> int:
    """Every how many blocks one attends to the whole picture; the others attend to windows.

    Raises:
        ArtifactError: llama.cpp would choose other windows or other blocks.
    """
    window = _number(vision, "window_size", WINDOW)
    if window // geometry.cell_size != WINDOW // geometry.cell_size:
        raise ArtifactError(
            f"config.json: window_size is {window}, and llama.cpp's windows have {WINDOW} pixels",
            _HINT,
        )
    whole = vision.get("fullatt_block_indexes", [7, 15, 23, 31])
    if isinstance(whole, list) and whole and type(whole[0]) is int and whole[0] >= 0:
        every = whole[0] + 1
        if list(range(whole[0], n_blocks, every)) == whole:
            return every
    raise ArtifactError(
        f"config.json: fullatt_block_indexes is {shown(whole)}, and llama.cpp takes every n-th of "
        f"{n_blocks} blocks",
        _HINT,
    )


def _sources(checkpoint: Checkpoint) -> Iterator[tuple[str, _Source]]:
    """What each tensor of the file is made of."""
    shape_of = checkpoint.store.shape
    for short, stored in checkpoint.projector_tensors().items():
        module, _, kind = short.rpartition(".")
        yield f"{_MERGER_NAMES[module]}.{kind}", _Source(stored, shape_of(stored))
    for short, stored in checkpoint.vision_tensors().items():
        shape = shape_of(stored)
        if short == _PATCHES:  # (width, 3, frames, patch, patch)
            for frame, target in enumerate(("v.patch_embd.weight", "v.patch_embd.weight.1")):
                part = _Source(stored, (*shape[:2], *shape[3:]), _frame(frame))
                yield target, part
        elif (match := _BLOCK.fullmatch(short)) and match[2] == _QKV:
            rows = shape[0] // 3
            for third, letter in enumerate("qkv"):
                target = f"v.blk.{int(match[1])}.attn_{letter}.{match[3]}"
                yield target, _Source(stored, (rows, *shape[1:]), _rows(third * rows, rows))
        elif match:
            target = f"v.blk.{int(match[1])}.{_BLOCK_NAMES[match[2]]}.{match[3]}"
            yield target, _Source(stored, shape)


def _frame(index: int) -> Callable[[Bits], Bits]:
    return lambda bits: bits[:, :, index]


def _rows(start: int, count: int) -> Callable[[Bits], Bits]:
    return lambda bits: bits[start : start + count]


def _stored_as(shape: tuple[int, ...], float_type: FloatType) -> FloatType:
    """Vectors are added in F32; ggml convolves with F16 or F32."""
    if len(shape) == 1:
        return "F32"
    return "F32" if float_type == "BF16" and len(shape) == 4 else float_type


def _number(vision: Mapping[str, object], key: str, default: int) -> int:
    value = vision.get(key, default)
    if type(value) is not int or value < 1:
        raise ArtifactError(f"config.json: {key} is {shown(value)}, not a number above 0", _HINT)
    return value
