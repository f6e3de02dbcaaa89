"""Writing GGUF files: typed metadata and F32 or F16 tensors, in one step or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import ArtifactError, MissingExtraError

if TYPE_CHECKING:
    from gguf import GGUFWriter

Tensor: TypeAlias = NDArray[np.floating[Any]]
FloatType: TypeAlias = Literal["F32", "F16"]
Value: TypeAlias = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]

_DTYPES: Final[dict[FloatType, type[np.floating[Any]]]] = {"F32": np.float32, "F16": np.float16}


def write_gguf(
    path: Path, architecture: str, metadata: Mapping[str, Value], tensors: Mapping[str, Tensor]
) -> None:
    """Write a GGUF file.

    Args:
        path: the file to make; it appears only when it is complete.
        architecture: ``general.architecture``.
        metadata: bool, str and tuples as they are, int as uint32, float as float32; tuples of int
            as int32 arrays.
        tensors: by name, float32 or float16, in numpy's order of dimensions.

    Raises:
        MissingExtraError: the gguf package is not installed.
        ArtifactError: a tensor is not float32 or float16, or holds infinities or NaN.
    """
    try:
        from gguf import GGUFWriter
    except ImportError as error:
        raise MissingExtraError(
            "writing GGUF files needs the gguf package", "pip install 'edgecritic[export]'"
        ) from error
    for name, tensor in tensors.items():
        if tensor.dtype not in (np.float32, np.float16) or not np.isfinite(tensor).all():
            raise ArtifactError(
                f"tensor {name} for {path} is {tensor.dtype} and must be finite float32 or float16",
                "export in F32 if a weight overflows in half precision",
            )
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    writer = GGUFWriter(unfinished, architecture)
    try:
        for key, value in metadata.items():
            _add_value(writer, key, value)
        for name, tensor in tensors.items():
            writer.add_tensor(name, np.ascontiguousarray(tensor))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        unfinished.replace(path)
    finally:
        writer.close()
        unfinished.unlink(missing_ok=True)


def as_float(tensor: Tensor, float_type: FloatType) -> Tensor:
    """`tensor` in the type that `write_gguf` stores as `float_type`; overflow gives infinity."""
    with np.errstate(over="ignore"):
        return tensor.astype(_DTYPES[float_type])


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
