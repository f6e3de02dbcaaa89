"""Weight matrices, read piece by piece and written as nodes of a graph."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgecritic.graphs.blocks import BLOCK, Bits, QuantizedRows, quantize_rows
from edgecritic.graphs.model_file import CONTRIB, ModelFile
from edgecritic.graphs.precision import Precision
from edgecritic.graphs.weights import FloatArray, Matrix

PRODUCT: Final = ".product"
_MAX_THREADS: Final = 8
_INT8_ARITHMETIC: Final = 4
"""MatMulNBits' accuracy_level: activations are rounded to int8 as well, in blocks of 32."""


def write_linear(
    model: ModelFile,
    matrix: Matrix,
    x: str,
    name: str,
    precision: Precision,
    *,
    half: bool = False,
    importance: FloatArray | None = None,
) -> str:
    """Multiply `x` by a matrix, as transformers' Linear without its bias does.

    Args:
        model: gets the weights and the nodes.
        matrix: (outputs, inputs).
        x: name of the (..., inputs) value.
        name: of the module; the weights are called after it.
        precision: the matrix's.
        half: `x` and the product are float16 instead of float32.
        importance: see `quantize_rows`.

    Returns:
        The product's name: the module's with `PRODUCT` behind it.
    """
    if precision in ("int8", "int4"):
        bits: Bits = 8 if precision == "int8" else 4
        return _quantized(model, matrix, x, name, bits=bits, half=half, importance=importance)
    n_outputs, n_inputs = matrix.shape
    parts: Iterable[NDArray[Any]] = matrix.columns()
    weight = f"{name}.weight_T"
    if half or precision == "fp16":
        model.weight_parts(weight, (n_inputs, n_outputs), map(halved, parts))
        if not half:
            weight = model.cast(weight, "float32", f"{name}.weight_T_float32")
    else:
        model.weight_parts(weight, (n_inputs, n_outputs), parts)
    return model.node("MatMul", [x, weight], [f"{name}{PRODUCT}"])


def _quantized(
    model: ModelFile,
    matrix: Matrix,
    x: str,
    name: str,
    *,
    bits: Bits,
    half: bool,
    importance: FloatArray | None,
) -> str:
    n_outputs, n_inputs = matrix.shape
    n_blocks = -(-n_inputs // BLOCK)
    scales: list[NDArray[Any]] = []
    zeros: list[NDArray[Any]] = []

    def codes() -> Iterator[NDArray[Any]]:
        def quantize(rows: FloatArray) -> QuantizedRows:
            return quantize_rows(rows, bits, importance)

        for rows in _in_threads(quantize, matrix.rows()):
            scales.append(halved(rows.scales) if half else rows.scales)
            if rows.zeros is not None:
                zeros.append(rows.zeros)
            yield rows.codes

    inputs = [
        x,
        model.weight_parts(
            f"{name}.weight_Q{bits}", (n_outputs, n_blocks, BLOCK * bits // 8), codes()
        ),
        model.weight_parts(f"{name}.weight_scales", (n_outputs, n_blocks), scales),
    ]
    if zeros:
        shape = (n_outputs, -(-n_blocks // 2))
        inputs.append(model.weight_parts(f"{name}.weight_zeros", shape, zeros))
    return model.node(
        "MatMulNBits",
        inputs,
        [f"{name}{PRODUCT}"],
        domain=CONTRIB,
        **product_attributes(n_inputs, n_outputs, bits=bits),
    )


def product_attributes(n_inputs: int, n_outputs: int, *, bits: Bits) -> dict[str, int]:
    """What MatMulNBits is told of a matrix that `quantize_rows` quantized."""
    return {
        "K": n_inputs,
        "N": n_outputs,
        "bits": bits,
        "block_size": BLOCK,
        "accuracy_level": _INT8_ARITHMETIC,
    }


def halved(values: FloatArray) -> NDArray[Any]:
    """float16; what does not fit becomes infinite, which `ModelFile` refuses."""
    with np.errstate(over="ignore"):
        return values.astype(np.float16)


Given = TypeVar("Given")
Made = TypeVar("Made")


def _in_threads(work: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """`map` on several threads, in order, never far ahead of who reads the results."""
    n_threads = min(_MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[Future[Made]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
