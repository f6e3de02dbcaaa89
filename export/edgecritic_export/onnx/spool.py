"""Weights that wait in a file for their model, and how a serialized model takes them up.

Source of the wire format: protobuf's "Encoding", and the field numbers of onnx.proto.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final, Literal, TypeAlias

import numpy as np

from edgecritic_export.onnx.protobuf import onnx

DType: TypeAlias = Literal["float32", "float16", "int64", "int32", "uint8"]

ELEMENT_TYPES: Final[Mapping[str, int]] = {
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
    "int64": onnx.TensorProto.INT64,
    "int32": onnx.TensorProto.INT32,
    "uint8": onnx.TensorProto.UINT8,
}
# Fields with the wire type "length-delimited": number << 3 | 2.
_MODEL_GRAPH: Final = 7 << 3 | 2
_GRAPH_INITIALIZER: Final = 5 << 3 | 2
_TENSOR_RAW_DATA: Final = 9 << 3 | 2
_COPY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SpooledTensor:
    """One weight.

    Attributes:
        name: in the graph.
        dtype: of its elements.
        shape: its dimensions.
        offset: where it begins in the file.
        nbytes: its length there.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    def described(self) -> onnx.TensorProto:
        """Name, type and shape."""
        return onnx.TensorProto(
            name=self.name, data_type=ELEMENT_TYPES[self.dtype], dims=self.shape
        )

    def reference(self, location: str) -> onnx.TensorProto:
        """An initializer whose elements stay in the file, under its final name."""
        tensor = self.described()
        tensor.data_location = onnx.TensorProto.EXTERNAL
        place = {"location": location, "offset": self.offset, "length": self.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def head(self) -> bytes:
        """Everything of an initializer in a serialized graph that stands before its elements."""
        described: bytes = self.described().SerializeToString()
        raw = _varint(_TENSOR_RAW_DATA) + _varint(self.nbytes)
        length = len(described) + len(raw) + self.nbytes
        return _varint(_GRAPH_INITIALIZER) + _varint(length) + described + raw

    def copy(self, spool: IO[bytes], target: IO[bytes]) -> None:
        """Copy the elements to the end of another file."""
        spool.seek(self.offset)
        left = self.nbytes
        while left:
            part = spool.read(min(left, _COPY_BYTES))
            if not part:
                raise OSError(f"{self.name} ends {left} bytes early: the disk may be full")
            target.write(part)
            left -= len(part)


def graph_head(length: int) -> bytes:
    """What stands before a serialized graph of so many bytes in its model."""
    return _varint(_MODEL_GRAPH) + _varint(length)


def n_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Length of a tensor's elements."""
    return math.prod(shape) * np.dtype(dtype).itemsize


def _varint(value: int) -> bytes:
    """A variable-length integer: seven bits a byte, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
