"""The Qwen2, Qwen2.5-VL or Llama language model of a checkpoint as a GGUF for llama.cpp.

Tensors go from the checkpoint's memory map to the file one after another, so a 7B model needs as
much memory as a slab of one matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgecritic.backends.llamacpp.artifacts import GRID_LANGUAGE_MODEL
from edgecritic.errors import ArtifactError
from edgecritic.language_layout import permute_for_rope, tensor_name
from edgecritic_export.checkpoints.tensors import Bits
from edgecritic_export.gguf.file import FILE_TYPES, FloatType, TensorSource, Value, write_gguf
from edgecritic_export.gguf.tokenizer import tokenizer_metadata

if TYPE_CHECKING:
    from edgecritic.text_shape import TextShape
    from edgecritic_export.checkpoints.folder import Checkpoint


def write_language_model(
    checkpoint: Checkpoint,
    path: Path,
    *,
    float_type: FloatType = "F16",
    name: str = "edgecritic language model",
) -> None:
    """Write the language model of a critic, with its tokenizer.

    Matrices are stored in `float_type`; norms and biases, which are small, in F32. A tied head is
    not written: llama.cpp then multiplies by the embeddings.

    Args:
        checkpoint: open.
        path: the file to make.
        float_type: ``"BF16"`` loses nothing of a BF16 checkpoint, but few CPUs compute with it
            quickly; ``"F16"`` loses digits of values below 6e-5.
        name: ``general.name``.

    Raises:
        ArtifactError: llama.cpp would compute something else, the tokenizer is of an unknown
            kind, or a weight overflows.
        MissingExtraError: the gguf package is not installed.
    """
    shape = checkpoint.text
    _check(checkpoint)
    metadata: dict[str, Value] = {
        "general.type": "model",
        "general.name": name,
        "general.file_type": FILE_TYPES[float_type],
        **_shape_metadata(shape),
        **tokenizer_metadata(checkpoint.folder, shape.n_vocab, checkpoint.config),
    }
    write_gguf(path, gguf_architecture(shape), metadata, dict(_tensors(checkpoint, float_type)))


def gguf_architecture(shape: TextShape) -> str:
    """llama.cpp's name: it tells a Qwen2 with three-part positions from the plain one."""
    return GRID_LANGUAGE_MODEL if shape.mrope_section else shape.architecture


def _check(checkpoint: Checkpoint) -> None:
    shape = checkpoint.text
    # Its `qwen2` takes queries as wide as the model for granted, and the runtime all models.
    if shape.head_dim * shape.n_head != shape.n_embd:
        raise ArtifactError(
            f"{checkpoint.folder}: {shape.n_head} heads of {shape.head_dim} are not as wide as "
            f"the model ({shape.n_embd})",
            "export it to another format, or judge with backend='hf'",
        )


def _shape_metadata(shape: TextShape) -> dict[str, Value]:
    keys: dict[str, Value] = {
        "block_count": shape.n_layers,
        "context_length": shape.n_ctx,
        "embedding_length": shape.n_embd,
        "feed_forward_length": shape.n_ff,
        "attention.head_count": shape.n_head,
        "attention.head_count_kv": shape.n_head_kv,
        "attention.layer_norm_rms_epsilon": shape.rms_eps,
        "rope.freq_base": shape.rope_theta,
        "rope.dimension_count": shape.head_dim,
        "vocab_size": shape.n_vocab,
    }
    if shape.mrope_section:
        keys["rope.dimension_sections"] = (*shape.mrope_section, 0)  # a fourth axis is not used
    return {f"{gguf_architecture(shape)}.{key}": value for key, value in keys.items()}


def _tensors(checkpoint: Checkpoint, float_type: FloatType) -> Iterator[tuple[str, TensorSource]]:
    """Every tensor of the file, in the order in which the model computes.

    The checkpoint has made sure that there are no others.
    """
    stored = checkpoint.language_tensors()
    for source, form in checkpoint.text.tensor_shapes().items():
        target = tensor_name(source)
        yield (
            target,
            TensorSource.stored(
                checkpoint.store,
                stored[source],
                float_type if len(form) > 1 else "F32",
                _row_order(target, checkpoint.text),
            ),
        )


def _row_order(target: str, shape: TextShape) -> Callable[[Bits], Bits] | None:
    heads = {"attn_q": shape.n_head, "attn_k": shape.n_head_kv}.get(target.split(".")[-2])
    if heads is None or shape.architecture != "llama":
        return None
    return partial(permute_for_rope, n_head=heads)
