"""Models that other tools made, written as `ModelFile` writes its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgecritic.errors import ArtifactError
from edgecritic.graphs.model_file import OPSET, ModelFile
from edgecritic.graphs.wire import Attribute
from edgecritic_export.onnx.protobuf import onnx

_SMALL_BYTES: Final = 1 << 10


def rewrite(
    source: onnx.ModelProto, path: Path, *, external: bool | None = None
) -> tuple[Path, ...]:
    """Write a model that other tools made, as `ModelFile` writes its own.

    What they noted down beside it, such as the places of their source code, is left out.

    Args:
        source: of opset `OPSET`, its weights inside.
        path: the file to make.
        external: see `ModelFile`.

    Returns:
        The files written, the model first.

    Raises:
        ArtifactError: it is of another opset, or has functions.
    """
    opsets = {entry.domain: entry.version for entry in source.opset_import}
    if opsets.get("") != OPSET or source.functions:
        raise ArtifactError(
            f"{path.name}: a graph of opsets {opsets} with {len(source.functions)} "
            "functions cannot be taken over",
            "this is a fault of the exporter: please report it",
        )
    with ModelFile(path, external=external) as model:
        _adopt(source.graph, model)
        return model.finish()


def _adopt(graph: onnx.GraphProto, model: ModelFile) -> None:
    """Take over inputs, outputs, nodes and weights."""
    for value in graph.input:
        described = onnx.ValueInfoProto(name=value.name, type=value.type)
        model.adopt("input", described.SerializeToString())
    for value in graph.output:
        described = onnx.ValueInfoProto(name=value.name, type=value.type)
        model.adopt("output", described.SerializeToString())
    for node in graph.node:
        plain = onnx.NodeProto()
        plain.CopyFrom(node)
        plain.ClearField("metadata_props")
        plain.ClearField("doc_string")
        model.adopt("node", plain.SerializeToString())
    for tensor in graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.nbytes < _SMALL_BYTES:  # shapes and axes are read before external data is
            model.small(tensor.name, array)
        else:
            model.weight(tensor.name, array)


def made_node(
    operator: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    domain: str = "",
    **attributes: Attribute,
) -> onnx.NodeProto:
    """A node, named after its first output."""
    node = onnx.helper.make_node(
        operator, inputs, outputs, name=f"{outputs[0]}/{operator}", domain=domain
    )
    for name in sorted(attributes):
        node.attribute.append(onnx.helper.make_attribute(name, attributes[name]))
    return node
