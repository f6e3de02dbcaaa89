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
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import ArtifactError, MissingExtraError
from edgecritic.graphs.blocks import quantize_rows
from edgecritic.graphs.linear import product_attributes
from edgecritic.graphs.model_file import CONTRIB
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.ort import quiet_environment
from edgecritic_export.onnx.precision import VisionPrecision
from edgecritic_export.onnx.protobuf import onnx
from edgecritic_export.onnx.rewrite import made_node, rewrite

VISION_ENCODER: Final = "vision_encoder"
"""File name of transformers.js, without what stands for the type."""
Weights: TypeAlias = Mapping[str, NDArray[np.float32]]
"""Arrays by the names of a graph's initializers."""

_LARGEST_HALF: Final = float(np.finfo(np.float16).max)


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
    hollow, weights = _apart(trace_vision(checkpoint))
    written = {}
    for precision, path in targets.items():
        model = _in_precision(hollow, weights, precision)
        written[precision] = rewrite(model, path, external=external)
    return written


def _apart(traced: onnx.ModelProto) -> tuple[onnx.ModelProto, Weights]:
    """A model whose floating-point weights are empty, and the weights.

    Every step behind this one copies the model, and none needs the weights to do so: with them a
    tower of 1.6 GB took 11 GB at its peak.
    """
    graph = traced.graph
    hollow = onnx.ModelProto(
        ir_version=traced.ir_version,
        opset_import=traced.opset_import,
        functions=traced.functions,
        graph=onnx.GraphProto(
            name=graph.name,
            node=graph.node,
            input=graph.input,
            output=graph.output,
            value_info=graph.value_info,
        ),
    )
    weights = {}
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            weights[tensor.name] = onnx.numpy_helper.to_array(tensor)
            empty = np.empty(0, np.float32)
            hollow.graph.initializer.append(onnx.numpy_helper.from_array(empty, tensor.name))
        else:
            hollow.graph.initializer.append(tensor)
    return hollow, weights


def _filled(model: onnx.ModelProto, weights: Weights) -> onnx.ModelProto:
    """The model with its weights, each in the type that the model now has it in.

    Raises:
        ArtifactError: a weight is too large for half precision.
    """
    for tensor in model.graph.initializer:
        values = weights.get(tensor.name)
        if values is None:
            continue
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            if np.abs(values).max(initial=0.0) > _LARGEST_HALF:
                raise ArtifactError(
                    f"{tensor.name} has weights beyond {_LARGEST_HALF:g}",
                    "half precision cannot hold them: export the vision tower as fp32",
                )
            values = values.astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return model


def _in_precision(
    hollow: onnx.ModelProto, weights: Weights, precision: VisionPrecision
) -> onnx.ModelProto:
    if precision == "fp16":
        return _filled(_in_half(hollow), weights)
    model = copy.deepcopy(hollow)
    return _filled(_in_bytes(model, weights) if precision == "int8" else model, weights)


def _in_half(hollow: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and activations in half precision, inputs and outputs as they were.

    By ONNX Runtime's converter: which operators have no half precision is its knowledge. Types of
    all values come from the trace, as shapes cannot be inferred from empty weights.
    """
    quiet_environment()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    halved: onnx.ModelProto = convert_float_to_float16(
        copy.deepcopy(hollow), keep_io_types=True, disable_shape_infer=True
    )
    return halved


def _in_bytes(model: onnx.ModelProto, weights: Weights) -> onnx.ModelProto:
    """Matrices in blocks of eight bits; changes `model`.

    ONNX Runtime's dynamic quantization is as fast, but has one scale for a whole tensor of
    activations: it was measured at three times the error.
    """
    model.opset_import.add(domain=CONTRIB, version=1)
    graph = model.graph
    matrices = {t.name: t for t in graph.initializer if np.ndim(weights.get(t.name, 0)) == 2}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            name = node.input[1]
            weight = weights[name]
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
