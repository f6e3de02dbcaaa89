"""Writing GGUF files: typed metadata, then tensors as a stream, in one step or not at all."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import ArtifactError, MissingExtraError
from edgecritic.staging import temporary
from edgecritic_export.checkpoints.store import TensorStore
from edgecritic_export.checkpoints.tensors import Bits, narrowed, widened

if TYPE_CHECKING:
    from gguf import GGUFWriter

Tensor: TypeAlias = NDArray[np.floating[Any]]
FloatType: TypeAlias = Literal["F32", "F16", "BF16"]
Value: TypeAlias = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]

FILE_TYPES: Final[Mapping[FloatType, int]] = {"F32": 0, "F16": 1, "BF16": 32}
"""`general.file_type` of a file whose matrices are stored so (llama.h, LLAMA_FTYPE_*)."""
_ITEM_BYTES: Final[Mapping[FloatType, int]] = {"F32": 4, "F16": 2, "BF16": 2}
_KINDS: Final[Mapping[str, FloatType]] = {"float32": "F32", "float16": "F16"}
_SLAB_VALUES: Final = 1 << 24  # converted at once: 64 MB in float32


@dataclass(frozen=True, slots=True)
class TensorSource:
    """A tensor that is read when its turn to be written comes.

    Attributes:
        shape: in numpy's order of dimensions.
        stored_as: type in the GGUF file.
        read: gives the type (a name of safetensors) and the bits, of this shape.
    """

    shape: tuple[int, ...]
    stored_as: FloatType
    read: Callable[[], tuple[str, Bits]]

    @classmethod
    def of(cls, tensor: Tensor, stored_as: FloatType | None = None) -> TensorSource:
        """A float32 or float16 tensor that is in memory; stored as what it is when left out."""
        kind = _KINDS.get(tensor.dtype.name)
        if kind is None:
            raise ArtifactError(
                f"a tensor is {tensor.dtype}, and must be float32 or float16",
                "this is a fault of the exporter: please report it",
            )
        return cls(tensor.shape, stored_as or kind, lambda: (kind, tensor))

    @classmethod
    def stored(
        cls,
        store: TensorStore,
        name: str,
        stored_as: FloatType,
        change: Callable[[Bits], Bits] | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> TensorSource:
        """A tensor of a checkpoint.

        Args:
            store: holds it; must be open until the file is written.
            name: its name there.
            stored_as: type in the GGUF file.
            change: reorders its bits, or takes a part of them.
            shape: of the result; the stored one when left out.
        """

        def read() -> tuple[str, Bits]:
            kind, bits = store.read_raw(name)
            return kind, bits if change is None else change(bits)

        return cls(store.shape(name) if shape is None else shape, stored_as, read)

    @property
    def n_bytes(self) -> int:
        """Length of its data in the file."""
        return math.prod(self.shape) * _ITEM_BYTES[self.stored_as]


def write_gguf(
    path: Path,
    architecture: str,
    metadata: Mapping[str, Value],
    tensors: Mapping[str, Tensor | TensorSource],
) -> None:
    """Write a GGUF file; memory holds a slab of one tensor at a time.

    Args:
        path: the file to make; it appears only when it is complete and on the disk.
        architecture: ``general.architecture``.
        metadata: bool, str and tuples as they are, int as uint32, float as float32; tuples of int
            as int32 arrays. Empty texts and tuples are left out.
        tensors: by name, in the file's order; arrays are float32 or float16.

    Raises:
        MissingExtraError: the gguf package is not installed.
        ArtifactError: a tensor is no floating-point one, or holds a number that is not finite in
            the type it shall be stored as.
    """
    try:
        from gguf import GGMLQuantizationType, GGUFWriter
    except ImportError as error:
        raise MissingExtraError(
            "writing GGUF files needs the gguf package", "pip install 'edgecritic[export]'"
        ) from error
    sources = {
        name: tensor if isinstance(tensor, TensorSource) else TensorSource.of(tensor)
        for name, tensor in tensors.items()
    }
    with unfinished(path) as partial:
        writer = GGUFWriter(partial, architecture)
        try:
            for key, value in metadata.items():
                _add_value(writer, key, value)
            for name, tensor in sources.items():
                kind = GGMLQuantizationType[tensor.stored_as]
                # The type in numpy is not used where the one in the file is given.
                dtype = np.dtype(np.float32)
                writer.add_tensor_info(name, tensor.shape, dtype, tensor.n_bytes, raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
        finally:
            writer.close()
        with partial.open("ab") as file:
            _pad(file.write, file.tell(), writer.data_alignment)
            for name, tensor in sources.items():
                for slab in _slabs(name, tensor, path):
                    file.write(slab.data.cast("B"))
                _pad(file.write, tensor.n_bytes, writer.data_alignment)


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends without an error.

    The content is on the disk before the new name is.
    """
    partial = temporary(path)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def as_float(tensor: Tensor, float_type: Literal["F32", "F16"]) -> Tensor:
    """`tensor` in the type that `write_gguf` stores as `float_type`; overflow gives infinity."""
    with np.errstate(over="ignore"):
        return tensor.astype({"F32": np.float32, "F16": np.float16}[float_type])


def _slabs(name: str, tensor: TensorSource, path: Path) -> Iterator[Bits]:
    """The tensor's bits as the file stores them, some rows at a time."""
    kind, bits = tensor.read()
    if bits.shape != tensor.shape:
        raise ArtifactError(
            f"tensor {name} for {path} is {bits.shape}, not {tensor.shape}",
            "this is a fault of the exporter: please report it",
        )
    if kind not in ("F32", "F16", "BF16", "F64"):
        raise ArtifactError(
            f"tensor {name} for {path} is stored as {kind}, not in floating point",
            "quantised checkpoints are not read: name the full-precision one",
        )
    flat = bits.reshape(-1)
    for start in range(0, flat.size, _SLAB_VALUES):
        slab = flat[start : start + _SLAB_VALUES]
        try:
            yield np.ascontiguousarray(narrowed(tensor.stored_as, widened(kind, slab)))
        except ArtifactError as error:
            raise ArtifactError(
                f"tensor {name} for {path}: {error.message}",
                "export in BF16 or F32 if a weight overflows in half precision",
            ) from error


def _pad(write: Callable[[bytes], object], n_bytes: int, alignment: int) -> None:
    write(bytes(-n_bytes % alignment))


def _add_value(writer: GGUFWriter, key: str, value: Value) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, list(value))
