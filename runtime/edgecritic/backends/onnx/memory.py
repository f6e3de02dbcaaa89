"""Keys and values of one sequence, which GroupQueryAttention extends in place.

Every layer's past and present are bound to one buffer. The alternative, a new present for each run,
copies all of the past each time: SmolLM2-135M (float32, two cores) took a fifth to a third longer
for a token at 512 to 3,584 positions, with the same logits to the bit; and it needs as many buffers
as sequences are open. Putting 32 positions aside takes under a millisecond. How many positions the
buffer has changes neither logits nor time, but the attention writes all of them in each run, so
that they take memory whether a sequence needs them or not. Buffers therefore grow with the longest
sequence; on a GPU they double, since growing there moves everything through main memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from edgecritic.backends.onnx.artifacts import DecoderFacts
from edgecritic.backends.workbench import Slots

Values: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float16]

STEP: Final = 512
"""Positions by which buffers grow."""


def allocated(n_positions: int, limit: int) -> int:
    """Positions that buffers on the CPU have for a sequence, at most `limit`."""
    return min(limit, -(-n_positions // STEP) * STEP)


def doubled(n_positions: int, limit: int) -> int:
    """Positions that buffers on a GPU have for a sequence, at most `limit`."""
    steps = -(-n_positions // STEP)
    return min(limit, STEP << (steps - 1).bit_length())


class Memory(ABC):
    """A stretch, with the OrtValues that the decoder's layers are bound to.

    Args:
        facts: the decoder's.
        n_positions: how long a sequence may be.
        allocated: positions that buffers have for a sequence, of `allocated` and `doubled`.

    Attributes:
        buffers: for each layer keys and values, (1, heads, positions, width) each.
        generation: another number once buffers were replaced by longer ones.
    """

    buffers: list[Any]

    def __init__(
        self, facts: DecoderFacts, n_positions: int, allocated: Callable[[int, int], int]
    ) -> None:
        self._limit = n_positions
        self._allocated = allocated
        self._n_positions = allocated(1, n_positions)
        self._shape = (1, facts.n_heads, self._n_positions, facts.head_dim)
        self.generation = 0

    def reserve(self, n_positions: int) -> None:
        """Have room for a sequence of that length; where that fails, what was there still is."""
        if n_positions <= self._n_positions:
            return
        self.generation += 1
        wanted = self._allocated(n_positions, self._limit)
        # Layer by layer, so that no more than one is there twice. Where memory ends in between,
        # some are longer than others, and all have what is in use. The attention wants keys and
        # values equally long.
        for index in range(0, len(self.buffers), 2):
            self._grow(slice(index, index + 2), wanted)
        self._n_positions = wanted

    @abstractmethod
    def _grow(self, layer: slice, n_positions: int) -> None:
        """Replace the buffers of a layer by longer ones."""

    @abstractmethod
    def take(self, slots: Slots) -> Values:
        """A copy of some positions."""

    @abstractmethod
    def put(self, start: int, copy: Values) -> None:
        """Write positions back."""


class HostMemory(Memory):
    """A stretch in main memory.

    Args:
        onnxruntime: the package.
        facts: see `Memory`.
        n_positions: see `Memory`.
    """

    def __init__(self, onnxruntime: ModuleType, facts: DecoderFacts, n_positions: int) -> None:
        super().__init__(facts, n_positions, allocated)
        self._wrap = onnxruntime.OrtValue.ortvalue_from_numpy  # shares the array's memory
        self._layers: list[npt.NDArray[Any]] = [
            np.zeros(self._shape, dtype=facts.cache) for _ in range(2 * facts.n_layers)
        ]
        self.buffers = [self._wrap(layer) for layer in self._layers]

    def _grow(self, layer: slice, n_positions: int) -> None:
        self._layers[layer] = [_longer(values, n_positions) for values in self._layers[layer]]
        self.buffers[layer] = map(self._wrap, self._layers[layer])

    def take(self, slots: Slots) -> Values:
        """See `Memory.take`."""
        return np.stack([layer[:, :, slots] for layer in self._layers])

    def put(self, start: int, copy: Values) -> None:
        """See `Memory.put`."""
        stop = start + copy.shape[3]
        self.reserve(stop)
        for layer, values in zip(self._layers, copy, strict=True):
            layer[:, :, start:stop] = values


class DeviceMemory(Memory):
    """A stretch on a GPU. Copies go through main memory, a whole buffer at a time.

    ONNX Runtime's Python interface moves whole tensors only, so that short buffers are quicker to
    copy from, too.

    Args:
        onnxruntime: the package.
        facts: see `Memory`.
        n_positions: see `Memory`.
    """

    def __init__(self, onnxruntime: ModuleType, facts: DecoderFacts, n_positions: int) -> None:
        super().__init__(facts, n_positions, doubled)
        self._move = onnxruntime.OrtValue.ortvalue_from_numpy
        zeros: Values = np.zeros(self._shape, dtype=facts.cache)
        self.buffers = [self._move(zeros, "cuda", 0) for _ in range(2 * facts.n_layers)]

    def _grow(self, layer: slice, n_positions: int) -> None:
        grown = (_longer(buffer.numpy(), n_positions) for buffer in self.buffers[layer])
        self.buffers[layer] = [self._move(values, "cuda", 0) for values in grown]

    def take(self, slots: Slots) -> Values:
        """See `Memory.take`."""
        return np.stack([buffer.numpy()[:, :, slots] for buffer in self.buffers])

    def put(self, start: int, copy: Values) -> None:
        """See `Memory.put`."""
        self.reserve(start + copy.shape[3])
        for buffer, values in zip(self.buffers, copy, strict=True):
            whole = buffer.numpy()
            whole[:, :, start : start + values.shape[2]] = values
            buffer.update_inplace(whole)


def _longer(values: npt.NDArray[Any], n_positions: int) -> npt.NDArray[Any]:
    """Keys or values of one layer with zeros behind them."""
    grown = np.zeros((*values.shape[:2], n_positions, values.shape[3]), dtype=values.dtype)
    grown[:, :, : values.shape[2]] = values
    return grown
