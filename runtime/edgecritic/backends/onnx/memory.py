"""Keys and values of one sequence, which GroupQueryAttention extends in place.

Every layer's past and present are bound to one buffer of all positions. The alternative, a new
present for each run, copies all of the past each time: SmolLM2-135M (float32, two cores) took a
fifth to a third longer for a token at 512 to 3,584 positions, with the same logits to the bit; and
it needs as many buffers as sequences are open. Putting 32 positions aside takes under a
millisecond. How many positions the buffer has changes neither logits nor time.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edgecritic.backends.onnx.artifacts import DecoderFacts

Values: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float16]


class Memory(Protocol):
    """A stretch, with the OrtValues that the decoder's layers are bound to."""

    buffers: list[Any]

    def take(self, start: int, stop: int) -> Values: ...

    def put(self, start: int, copy: Values) -> None: ...


class HostMemory:
    """A stretch in main memory.

    Args:
        onnxruntime: the package.
        facts: the decoder's.
        n_positions: how long a sequence may be.

    Attributes:
        buffers: for each layer keys and values, (1, heads, positions, width) each.
    """

    def __init__(self, onnxruntime: ModuleType, facts: DecoderFacts, n_positions: int) -> None:
        shape = (2 * facts.n_layers, 1, facts.n_heads, n_positions, facts.head_dim)
        # Zeros of calloc: a page takes memory when a position on it is first written.
        self._values: Values = np.zeros(shape, dtype=facts.cache)
        wrap = onnxruntime.OrtValue.ortvalue_from_numpy  # shares the array's memory
        self.buffers: list[Any] = [wrap(layer) for layer in self._values]

    def take(self, start: int, stop: int) -> Values:
        """A copy of some positions."""
        return self._values[:, :, :, start:stop].copy()

    def put(self, start: int, copy: Values) -> None:
        """Write positions back."""
        self._values[:, :, :, start : start + copy.shape[3]] = copy


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

    def take(self, start: int, stop: int) -> Values:
        """A copy of some positions."""
        return np.stack([buffer.numpy()[:, :, start:stop] for buffer in self.buffers])

    def put(self, start: int, copy: Values) -> None:
        """Write positions back."""
        for buffer, values in zip(self.buffers, copy, strict=True):
            whole = buffer.numpy()
            whole[:, :, start : start + values.shape[2]] = values
            buffer.update_inplace(whole)
