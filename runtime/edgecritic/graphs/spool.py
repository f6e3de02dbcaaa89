"""Weights that wait in a file for their model, and how a serialized model takes them up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Final

import numpy as np

from edgecritic.graphs import wire
from edgecritic.graphs.wire import DType

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

    def reference(self, location: str) -> bytes:
        """An initializer whose elements stay in the file, under its final name."""
        place = {"location": location, "offset": str(self.offset), "length": str(self.nbytes)}
        return wire.placed(wire.tensor(self.name, self.dtype, self.shape), place)

    def head(self) -> bytes:
        """Everything of an initializer in a serialized graph that stands before its elements."""
        described = bytes(wire.tensor(self.name, self.dtype, self.shape))
        raw = wire.head(wire.TENSOR_RAW_DATA, self.nbytes)
        length = len(described) + len(raw) + self.nbytes
        return wire.head(wire.GRAPH_INITIALIZER, length) + described + raw

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
    return wire.head(wire.MODEL_GRAPH, length)


def n_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Length of a tensor's elements."""
    return math.prod(shape) * np.dtype(dtype).itemsize
