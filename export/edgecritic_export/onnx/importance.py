"""How strongly each input of a decoder's matrices is driven by real prompts.

A quantizer that knows it rounds the weights of strong inputs more carefully. The sums are taken
inside the graph, so that memory does not grow with the prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from edgecritic.graphs.decoder import HEAD
from edgecritic.graphs.linear import PRODUCT
from edgecritic.graphs.precision import Importance
from edgecritic.staging import temporary
from edgecritic_export.onnx.ort import DecoderSession
from edgecritic_export.onnx.protobuf import onnx
from edgecritic_export.onnx.rewrite import made_node
from edgecritic_export.onnx.rows import EmbeddedRow

_PREFIX: Final = "sum_of_squares/"


def measure_importance(
    decoder: Path, rows: Sequence[EmbeddedRow], *, n_threads: int | None = None
) -> Importance:
    """Run a decoder over prompts and look at what its matrices multiply.

    Args:
        decoder: as `write_decoder` wrote it, with external data.
        rows: prompts of the kind that the critic will read.
        n_threads: of computation.

    Returns:
        One vector for each matrix of the layers.
    """
    tapped = temporary(decoder)
    try:
        names = _write_tapped(decoder, tapped)
        session = DecoderSession(tapped, n_threads=n_threads)
    finally:
        tapped.unlink(missing_ok=True)
    inputs = list(dict.fromkeys(names.values()))
    outputs = [f"{_PREFIX}{name}" for name in inputs]
    sums = [np.zeros(1, dtype=np.float64)] * len(inputs)
    for row in rows:
        found = session.run(outputs, row.embeddings)
        sums = [total + part for total, part in zip(sums, found, strict=True)]
    n_tokens = sum(len(row.embeddings) for row in rows)
    means = {
        name: (total / n_tokens).astype(np.float32)
        for name, total in zip(inputs, sums, strict=True)
    }
    return {matrix: means[name] for matrix, name in names.items()}


def _write_tapped(decoder: Path, tapped: Path) -> dict[str, str]:
    """A copy of the graph that also sums its matrices' squared inputs; their names by matrix."""
    model = onnx.load(decoder, load_external_data=False)
    names = dict(_matrix_inputs(model.graph.node))
    axes = onnx.numpy_helper.from_array(np.array([0, 1], dtype=np.int64), f"{_PREFIX}axes")
    model.graph.initializer.append(axes)
    for name in dict.fromkeys(names.values()):
        output = f"{_PREFIX}{name}"
        node = made_node("ReduceSumSquare", [name, axes.name], [output], keepdims=0)
        model.graph.node.append(node)
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [None])
        )
    tapped.write_bytes(model.SerializeToString())
    return names


def _matrix_inputs(nodes: Sequence[onnx.NodeProto]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        matrix = node.output[0].removesuffix(PRODUCT)
        # The head stays at eight bits, and computing it at every position is what costs most.
        if matrix not in (node.output[0], HEAD):
            yield matrix, node.input[0]
