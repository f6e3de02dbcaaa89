"""Watching the inputs of a model's matrices while llama.cpp computes.

llama.cpp's scheduler asks a callback about every node of its graph: first whether it wants to see
the node, then, when it is computed, with its data. A node that multiplies by a matrix has the
matrix as its first source and the inputs as its second.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecritic.backends.llamacpp.native import Native
from edgecritic.errors import BackendUnavailableError

_F32: Final = 0  # GGML_TYPE_F32
_MAX_SOURCES: Final = 10
_MAX_NAME: Final = 64


class _GgmlTensor(ctypes.Structure):
    """``struct ggml_tensor`` of ggml.h; `ActivationTap.bind` checks that it is laid out so."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * _MAX_SOURCES),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * _MAX_NAME),
        ("extra", ctypes.c_void_p),
        ("padding", ctypes.c_char * 8),
    )


class ActivationTap:
    """Sums the squared inputs of matrices.

    Args:
        names: the matrices to watch.

    Attributes:
        sums: by matrix, (n_in,) float64.
        counts: by matrix, the positions that went through it.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.sums: dict[str, NDArray[np.float64]] = {}
        self.counts: Counter[str] = Counter()
        self._names = {name.encode() for name in names}
        self._ggml: Any = None
        self._error: BackendUnavailableError | None = None

    def bind(self, native: Native) -> Any:
        """The callback for ``llama_context_params.cb_eval``; the caller keeps it alive.

        Raises:
            BackendUnavailableError: this ggml lays its tensors out in another way.
        """
        self._ggml = _ggml_base(native)
        if self._ggml.ggml_tensor_overhead() < ctypes.sizeof(_GgmlTensor):
            raise _another_layout()
        return native.llama.ggml_backend_sched_eval_callback(self._observe)

    def raise_error(self) -> None:
        """Raise what went wrong inside the callback, which C cannot pass on.

        Raises:
            BackendUnavailableError: see `bind`.
        """
        if self._error is not None:
            raise self._error

    def _observe(self, address: int, ask: bool, _user_data: object = None) -> bool:
        node = _GgmlTensor.from_address(address)
        if not node.src[0] or not node.src[1]:
            return not ask
        matrix = _GgmlTensor.from_address(node.src[0])
        if matrix.name not in self._names:
            return not ask
        if ask:
            return True
        inputs = _GgmlTensor.from_address(node.src[1])
        # A proof that the structure is right: ggml's own accessors see the same.
        if self._ggml.ggml_get_name(node.src[0]) != matrix.name or inputs.type != _F32:
            self._error = _another_layout()
            return False  # stops the computation
        self._add(matrix.name.decode(), inputs, node.src[1])
        return True

    def _add(self, name: str, inputs: _GgmlTensor, address: int) -> None:
        width, *outer = inputs.ne
        values = np.empty((int(np.prod(outer)), width), dtype=np.float32)
        # Copies from a GPU, too. Inputs of a matrix are contiguous: ggml demands it.
        self._ggml.ggml_backend_tensor_get(address, values.ctypes.data, 0, values.nbytes)
        # Within a batch float32 is exact enough (2e-5 of a sum of 512 squares), and fast.
        squares = np.einsum("ij,ij->j", values, values)
        if name in self.sums:
            self.sums[name] += squares
        else:
            self.sums[name] = squares.astype(np.float64)
        self.counts[name] += len(values)


def _ggml_base(native: Native) -> Any:
    from llama_cpp._ctypes_extensions import load_shared_library

    base = load_shared_library("ggml-base", Path(str(native.llama.__file__)).parent / "lib")
    base.ggml_tensor_overhead.restype = ctypes.c_size_t
    base.ggml_get_name.restype = ctypes.c_char_p
    base.ggml_get_name.argtypes = [ctypes.c_void_p]
    base.ggml_backend_tensor_get.restype = None
    base.ggml_backend_tensor_get.argtypes = [
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t),
    ]
    return base


def _another_layout() -> BackendUnavailableError:
    return BackendUnavailableError(
        "this build of llama.cpp lays out its tensors in another way than was expected",
        "install the tried version: pip install 'edgecritic[llama]'",
    )
