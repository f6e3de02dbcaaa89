"""Where the weights of a graph come from: a checkpoint, or a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import ArtifactError
from edgecritic.text_shape import TextShape

FloatArray: TypeAlias = NDArray[np.float32]

ALL: Final = slice(None)
_PART: Final = 1 << 20
"""Weights read at once: 4 MB as float32, and about ten times that while they are quantized."""


class Weights(Protocol):
    """Tensors by name, as float32."""

    def has(self, name: str) -> bool: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape in numpy's order.

        Raises:
            ArtifactError: there is none of this name.
        """
        ...

    def read(self, name: str, rows: slice = ALL, columns: slice = ALL) -> FloatArray:
        """A tensor, or a part of a matrix. `columns` is of matrices only."""
        ...


class LanguageModel(Weights, Protocol):
    """A decoder's weights, adapters merged, by transformers' names."""

    @property
    def text(self) -> TextShape: ...

    @property
    def rope_scaling(self) -> Mapping[str, object]:
        """Transformers' ``rope_parameters``; empty where nothing is scaled."""
        ...


@dataclass(frozen=True, slots=True)
class Matrix:
    """One or several matrices of equal width, on top of each other.

    Attributes:
        weights: where they come from.
        names: from top to bottom.
    """

    weights: Weights
    names: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs).

        Raises:
            ArtifactError: they are no matrices of equal width.
        """
        shapes = [self.weights.shape(name) for name in self.names]
        if any(len(shape) != 2 or shape[1] != shapes[0][1] for shape in shapes):
            raise ArtifactError(
                f"{', '.join(self.names)} have shapes {shapes}", "fetch the model again"
            )
        return sum(shape[0] for shape in shapes), shapes[0][1]

    def rows(self) -> Iterator[FloatArray]:
        """All rows, some at a time."""
        step = max(1, _PART // self.shape[1])
        for name in self.names:
            for start in range(0, self.weights.shape(name)[0], step):
                yield self.weights.read(name, slice(start, start + step))

    def columns(self) -> Iterator[FloatArray]:
        """The transpose's rows, some at a time."""
        n_outputs, n_inputs = self.shape
        step = max(1, _PART // n_outputs)
        for start in range(0, n_inputs, step):
            part = slice(start, start + step)
            parts = [self.weights.read(name, ALL, part).T for name in self.names]
            yield np.concatenate(parts, axis=1)
