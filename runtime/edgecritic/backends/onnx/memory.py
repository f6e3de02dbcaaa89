"""Keys and values of one sequence, which GroupQueryAttention extends in place.

Every layer's past and present are bound to one buffer. The alternative, a new present for each run,
copies all of the past each time: SmolLM2-135M (float32, two cores) took a fifth to a third longer
for a token at 512 to 3,584 positions, with the same logits to the bit; and it needs as many buffers
as sequences are open. Putting 32 positions aside takes under a millisecond. How many positions the
buffer has changes neither logits nor time, but the attention writes all of them in each run, so
that they take memory whether a sequence needs them or not. On the CPU buffers therefore grow with
the longest sequence; on a GPU they have their full length from the start.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edgecritic.backends.onnx.artifacts import DecoderFacts

Values: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float16]

STEP: Final = 512
"""Positions by which buffers grow."""


def allocated(n_positions: int, limit: int) -> int:
    """Positions that buffers on the CPU have for a sequence, at most `limit`."""
    return min(limit, -(-n_positions // STEP) * STEP)


class Memory(Protocol):
    """A stretch, with the OrtValues that the decoder's layers are bound to.

    Attributes:
        buffers: for each layer keys and values, (1, heads, positions, width) each; another list
            once they have grown.
    """

    buffers: list[Any]

    def reserve(self, n_positions: int) -> None:
        """Have room for a sequence of that length."""
        ...

    def take(self, start: int, stop: int) -> Values: ...

    def put(self, start: int, copy: Values) -> None: ...


class HostMemory:
    """A stretch in main memory.

    Args:
        onnxruntime: the package.
        facts: the decoder's.
        n_positions: how long a sequence may be.

    Attributes:
        buffers: see `Memory`.
    """

    def __init__(self, onnxruntime: ModuleType, facts: DecoderFacts, n_positions: int) -> None:
        self._wrap = onnxruntime.OrtValue.ortvalue_from_numpy  # shares the array's memory
        self._limit = n_positions
        shape = (1, facts.n_heads, allocated(1, n_positions), facts.head_dim)
        self._layers: list[npt.NDArray[Any]] = [
            np.zeros(shape, dtype=facts.cache) for _ in range(2 * facts.n_layers)
        ]
        self.buffers: list[Any] = [self._wrap(layer) for layer in self._layers]

    def reserve(self, n_positions: int) -> None:
        """See `Memory.reserve`."""
        before = self._layers[0].shape[2]
        if n_positions <= before:
            return
        buffers: list[Any] = [None] * len(self._layers)
        self.buffers = buffers  # lets go of the old ones, one by one as they are replaced
        for index, layer in enumerate(self._layers):
            shape = (*layer.shape[:2], allocated(n_positions, self._limit), layer.shape[3])
            grown = np.zeros(shape, dtype=layer.dtype)
            grown[:, :, :before] = layer
            self._layers[index] = grown
            buffers[index] = self._wrap(grown)

    def take(self, start: int, stop: int) -> Values:
        """A copy of some positions."""
        return np.stack([layer[:, :, start:stop] for layer in self._layers])

    def put(self, start: int, copy: Values) -> None:
        """Write positions back."""
        stop = start + copy.shape[3]
        self.reserve(stop)
        for layer, values in zip(self._layers, copy, strict=True):
            layer[:, :, start:stop] = values


class DeviceMemory:
    """A stretch on a GPU. Copies go through main memory, a whole buffer at a time.

    ONNX Runtime's Python interface moves whole tensors only.
    """

    def __init__(self, onnxruntime: ModuleType, facts: DecoderFacts, n_positions: int) -> None:
        zeros: Values = np.zeros((1, facts.n_heads, n_positions, facts.head_dim), dtype=facts.cache)
        self.buffers: list[Any] = [
            onnxruntime.OrtValue.ortvalue_from_numpy(zeros, "cuda", 0)
            for _ in range(2 * facts.n_layers)
        ]

    def reserve(self, n_positions: int) -> None:
        """See `Memory.reserve`; all is there."""

    def take(self, start: int, stop: int) -> Values:
        """A copy of some positions."""
        return np.stack([buffer.numpy()[:, :, start:stop] for buffer in self.buffers])

    def put(self, start: int, copy: Values) -> None:
        """Write positions back."""
        for buffer, values in zip(self.buffers, copy, strict=True):
            whole = buffer.numpy()
            whole[:, :, start : start + values.shape[2]] = values
            buffer.update_inplace(whole)
