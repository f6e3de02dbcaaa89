"""Vision tower and projector as one ONNX graph: tiles in, features out.

The newline and the packing of tiles stay outside, in `edgecritic.vision` and its twin in
JavaScript: their shapes depend on the picture.

Here torch traces transformers' own modules, since towers differ in more than a few numbers and
are small beside their language models: so400m, the largest in use, has 1.6 GB as float32. Only
the tower and the projector are loaded.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from edgecritic.errors import MissingExtraError
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.blocks import quantize_rows
from edgecritic_export.onnx.matrices import product_attributes
from edgecritic_export.onnx.model_file import CONTRIB, made_node, rewrite
from edgecritic_export.onnx.ort import quiet_environment
from edgecritic_export.onnx.precision import VisionPrecision
from edgecritic_export.onnx.protobuf import onnx

VISION_ENCODER: Final = "vision_encoder"
"""File name of transformers.js, without what stands for the type."""


def trace_vision(checkpoint: Checkpoint) -> onnx.ModelProto:
    """Trace a checkpoint's tower and projector in float32.

    Input: ``pixel_values`` (tiles, 3, S, S) float32. Output: ``image_features`` (tiles, patches,
    n_embd) float32, the tower's patches in rows, from the layer that the checkpoint names.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ArtifactError: the tower is none that transformers knows, or a weight does not fit.
    """
    try:
        from edgecritic_export.onnx.tower import trace
    except ImportError as error:
        raise MissingExtraError(
            f"exporting a vision tower needs torch, transformers and onnxscript: {error}",
            "pip install 'edgecritic[export,train]'",
        ) from error
    return trace(checkpoint)


def write_vision(
    checkpoint: Checkpoint,
    targets: Mapping[VisionPrecision, Path],
    *,
    external: bool | None = None,
) -> dict[VisionPrecision, tuple[Path, ...]]:
    """Trace a vision tower once and write it in several precisions.

    Args:
        checkpoint: LLaVA-OneVision.
        targets: the file to make for each precision.
        external: see `ModelFile`.

    Returns:
        For each precision the files written, the model first.
    """
    traced = trace_vision(checkpoint)
    written = {}
    for precision, path in targets.items():
        written[precision] = rewrite(_in_precision(traced, precision), path, external=external)
    return written


def _in_precision(traced: onnx.ModelProto, precision: VisionPrecision) -> onnx.ModelProto:
    if precision == "fp16":
        return _in_half(traced)
    return _in_bytes(traced) if precision == "int8" else traced


def _in_half(traced: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and activations in half precision, inputs and outputs as they were.

    By ONNX Runtime's converter: a tower fits into memory, and which operators have no half
    precision is its knowledge.
    """
    quiet_environment()
    from onnxruntime.transformers.float16 import convert_float_to_float16  # type: ignore[import-untyped]

    halved: onnx.ModelProto = convert_float_to_float16(copy.deepcopy(traced), keep_io_types=True)
    return halved


def _in_bytes(traced: onnx.ModelProto) -> onnx.ModelProto:
    """Matrices in blocks of eight bits.

    ONNX Runtime's dynamic quantization is as fast, but has one scale for a whole tensor of
    activations: it was measured at three times the error.
    """
    model = copy.deepcopy(traced)
    model.opset_import.add(domain=CONTRIB, version=1)
    graph = model.graph
    matrices = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            name = node.input[1]
            weight = onnx.numpy_helper.to_array(matrices[name])
            quantized = quantize_rows(np.ascontiguousarray(weight.T), 8)
            for part, array in (("Q8", quantized.codes), ("scales", quantized.scales)):
                graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}_{part}"))
            product = made_node(
                "MatMulNBits",
                [node.input[0], f"{name}_Q8", f"{name}_scales"],
                node.output,
                domain=CONTRIB,
                **product_attributes(*weight.shape, bits=8),
            )
            node.CopyFrom(product)
    used = {name for node in graph.node for name in node.input}
    for name, tensor in matrices.items():
        if name not in used:
            graph.initializer.remove(tensor)
    return model
