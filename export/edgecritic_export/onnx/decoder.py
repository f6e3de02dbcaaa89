"""A checkpoint's language model for the graphs that `edgecritic.graphs` writes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from edgecritic.errors import ArtifactError
from edgecritic.graphs import decoder
from edgecritic.graphs.precision import DecoderPrecision, FloatPrecision, Importance
from edgecritic.graphs.weights import ALL, FloatArray
from edgecritic.text_shape import TextShape
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.tensors import widened


class CheckpointLanguageModel:
    """The `edgecritic.graphs.weights.LanguageModel` of a checkpoint.

    Args:
        checkpoint: LLaVA-OneVision with a Qwen2 or Llama language model, adapters merged.

    Raises:
        ArtifactError: the checkpoint is of another family.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        check_family(checkpoint)
        self._checkpoint = checkpoint
        self._names = checkpoint.language_tensors()

    @property
    def text(self) -> TextShape:
        """Its numbers."""
        return self._checkpoint.text

    @cached_property
    def rope_scaling(self) -> Mapping[str, object]:
        """See `LanguageModel.rope_scaling`."""
        config = self._checkpoint.config.get("text_config")
        if not isinstance(config, Mapping):
            raise ArtifactError(
                f"{self._checkpoint.folder}: config.json has no text_config",
                "fetch the checkpoint again",
            )
        return config

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return name in self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """See `Weights.shape`."""
        return self._checkpoint.store.shape(self._names[name])

    def read(self, name: str, rows: slice = ALL, columns: slice = ALL) -> FloatArray:
        """See `Weights.read`."""
        dtype, bits = self._checkpoint.store.read_raw(self._names[name])
        return widened(dtype, bits[rows] if columns == ALL else bits[rows, columns])


def write_decoder(
    checkpoint: Checkpoint,
    path: Path,
    precision: DecoderPrecision,
    *,
    importance: Importance | None = None,
    external: bool | None = None,
) -> tuple[Path, ...]:
    """Write a checkpoint's language model; see `edgecritic.graphs.decoder.write_decoder`."""
    weights = CheckpointLanguageModel(checkpoint)
    return decoder.write_decoder(weights, path, precision, importance=importance, external=external)


def write_embed_tokens(
    checkpoint: Checkpoint,
    path: Path,
    precision: FloatPrecision,
    *,
    external: bool | None = None,
) -> tuple[Path, ...]:
    """Write a checkpoint's embeddings; see `edgecritic.graphs.decoder.write_embed_tokens`."""
    weights = CheckpointLanguageModel(checkpoint)
    return decoder.write_embed_tokens(weights, path, precision, external=external)


def check_family(checkpoint: Checkpoint) -> None:
    """Check that this format holds critics of the checkpoint's family.

    Raises:
        ArtifactError: it does not.
    """
    if checkpoint.text.mrope_section:
        raise ArtifactError(
            f"{checkpoint.folder}: critics of the family {checkpoint.family} are not exported to "
            "ONNX: the fused attention of ONNX Runtime turns keys by one position each, and theirs "
            "have time, row and column",
            "export it to GGUF: --quants Q8_0,Q4_K_M",
        )
