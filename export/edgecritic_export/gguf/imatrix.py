"""Importance matrices: how strongly each input of each matrix is driven by real rows.

A quantizer that knows it rounds the weights of strong inputs more carefully. What a critic reads
is mostly image features, which text-only calibration never shows it: here rows hold both.

File format: llama.cpp's, ``tools/imatrix`` (for each matrix the sum of squared inputs and the
number of positions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edgecritic.backends.base import FloatArray, ImageSpan, Span
from edgecritic.errors import ArtifactError, InputError
from edgecritic.gguf_header import ArrayClaim, GgufHeader, read_header
from edgecritic_export.gguf.activations import ActivationTap
from edgecritic_export.gguf.file import Value, write_gguf
from edgecritic_export.gguf.forward import ForwardOptions, ForwardPass

_SUMS, _COUNTS = ".in_sum2", ".counts"
_MAX_BYTES: Final = 1 << 30
_HINT: Final = "compute the importance matrix again, on this model"


@dataclass(frozen=True, slots=True, eq=False)
class ImportanceMatrix:
    """Squared inputs of a model's matrices, summed over calibration rows.

    Attributes:
        sums: by matrix, such as ``blk.0.attn_q.weight``: (n_in,) float32.
        counts: positions that each sum ran over.
        datasets: what the rows were, in words.
        n_rows: rows.
    """

    sums: Mapping[str, FloatArray]
    counts: Mapping[str, int]
    datasets: tuple[str, ...]
    n_rows: int

    @property
    def names(self) -> tuple[str, ...]:
        """The matrices."""
        return tuple(self.sums)

    def means(self, name: str) -> FloatArray:
        """Mean square of each input of a matrix, (n_in,) float32."""
        return np.ascontiguousarray(self.sums[name] / np.float32(self.counts[name]))

    def check(self, model: GgufHeader) -> None:
        """Check that it was computed on a model of these shapes.

        Raises:
            ArtifactError: a matrix is not in the model, has another width, or is not covered.
        """
        for name, sums in self.sums.items():
            width = model.tensors[name].shape[0] if name in model.tensors else None
            if width != sums.size:
                raise ArtifactError(
                    f"importance of {name} has {sums.size} inputs, "
                    f"{model.path} {'has no such matrix' if width is None else f'has {width}'}",
                    _HINT,
                )
        layers = {name for name, claim in model.tensors.items() if _is_matrix(name, claim.shape)}
        if missing := sorted(layers - self.sums.keys()):
            raise ArtifactError(
                f"the importance matrix lacks {len(missing)} of {len(layers)} matrices of "
                f"{model.path}, such as {missing[0]}",
                _HINT,
            )

    def write(self, path: Path) -> None:
        """Write it in llama.cpp's format.

        Raises:
            ArtifactError: a sum is not finite.
            MissingExtraError: the gguf package is not installed.
        """
        n_positions = max(self.counts.values(), default=0)
        metadata: dict[str, Value] = {
            "general.type": "imatrix",
            "imatrix.datasets": self.datasets,
            "imatrix.chunk_count": self.n_rows,
            # Rows differ in length; llama.cpp only shows this number.
            "imatrix.chunk_size": round(n_positions / max(1, self.n_rows)),
        }
        tensors: dict[str, FloatArray] = {}
        for name, sums in sorted(self.sums.items()):
            tensors[name + _SUMS] = sums[None]
            tensors[name + _COUNTS] = np.array([[self.counts[name]]], dtype=np.float32)
        write_gguf(path, "imatrix", metadata, tensors)

    @classmethod
    def read(cls, path: Path) -> ImportanceMatrix:
        """Read llama.cpp's format.

        Raises:
            ArtifactError: the file is no importance matrix of a model without experts, or damaged.
        """
        header = read_header(path)
        if header.metadata.get("general.type") != "imatrix":
            raise ArtifactError(
                f"{path} is no importance matrix in GGUF",
                "older .dat files are not read: convert them with llama.cpp's llama-imatrix",
            )
        sums: dict[str, FloatArray] = {}
        counts: dict[str, int] = {}
        for name in header.tensors:
            if name.endswith(_SUMS):
                matrix = name.removesuffix(_SUMS)
                sums[matrix] = _vector(header, name)
                counts[matrix] = int(_vector(header, matrix + _COUNTS)[0])
        if not sums or min(counts.values()) < 1:
            raise ArtifactError(f"{path} holds no importance of any matrix", _HINT)
        datasets = header.metadata.get("imatrix.datasets")
        items = datasets.items or () if isinstance(datasets, ArrayClaim) else ()
        n_rows = header.count("imatrix.chunk_count", limit=1 << 31)
        return cls(sums, counts, tuple(map(str, items)), n_rows)


def collect(
    model: Path,
    rows: Iterable[Sequence[Span]],
    datasets: Sequence[str],
    options: ForwardOptions | None = None,
) -> ImportanceMatrix:
    """Run calibration rows through a model, and sum up what drives its matrices.

    Args:
        model: GGUF of the language model in F32, F16 or BF16.
        rows: prompts, with the packed features of their pictures.
        datasets: what the rows are, in words; kept in the file.
        options: of the engine.

    Raises:
        InputError: there are no rows, or one does not fit.
        ArtifactError: the model cannot be opened.
    """
    tap = ActivationTap(
        name for name, claim in read_header(model).tensors.items() if _is_matrix(name, claim.shape)
    )
    n_rows = 0
    with ForwardPass(model, options, tap=tap) as forward:
        for row in rows:
            for _ in forward.logits(row):
                pass
            n_rows += 1
    if not n_rows:
        raise InputError("there are no calibration rows", "name a set that holds items")
    sums = {name: total.astype(np.float32) for name, total in tap.sums.items()}
    return ImportanceMatrix(sums, dict(tap.counts), tuple(datasets), n_rows)


def without_pictures(row: Sequence[Span]) -> tuple[Span, ...]:
    """The row's text alone: what calibration on text would show of it."""
    return tuple(span for span in row if not isinstance(span, ImageSpan))


def _is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is a matrix of a layer.

    The output layer is left out, as llama.cpp does: its rounding is better without importance.
    """
    return name.startswith("blk.") and len(shape) == 2


def _vector(header: GgufHeader, name: str) -> FloatArray:
    claim = header.tensor(name)
    if claim.type_name != "F32" or claim.shape[1:] not in ((), (1,)) or claim.n_bytes > _MAX_BYTES:
        raise ArtifactError(
            f"{header.path}: {name} is {claim.type_name} {claim.shape}, not one F32 vector",
            "matrices of experts are not supported",
        )
    vector = np.fromfile(header.path, np.float32, claim.shape[0], offset=claim.start)
    if not np.isfinite(vector).all():
        raise ArtifactError(f"{header.path}: {name} is not finite", _HINT)
    return vector
