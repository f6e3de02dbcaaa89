"""ONNX files whose weights go to disk while they are made: no model is ever whole in memory.

Weights are spooled into one file as they come. At the end that file becomes the model's external
data, or, where everything fits into one protobuf message, is copied into the model: a message's
length precedes it, so its head can be written once all sizes are known.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import ArtifactError
from edgecritic_export.checkpoints.staging import temporary
from edgecritic_export.onnx.protobuf import onnx
from edgecritic_export.onnx.spool import ELEMENT_TYPES, DType, SpooledTensor, graph_head, n_bytes

Array: TypeAlias = NDArray[Any]
Dimension: TypeAlias = int | str
Attribute: TypeAlias = int | float | str | Sequence[int]

CONTRIB: Final = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
DATA_SUFFIX: Final = "_data"
OPSET: Final = 21
INLINE_LIMIT: Final = 1_900_000_000
"""Bytes of weights up to which a model is one file; protobuf ends at 2 GiB, nodes included."""

_IR_VERSION: Final = 10  # of opset 21; the oldest that says what the model needs
_ALIGNMENT: Final = 4096  # of external data, so that a mapped tensor starts on a page
_SMALL_BYTES: Final = 1 << 10


class ModelFile:
    """An ONNX model in the making.

    Use it as a context manager: `finish` gives the files their names; leaving the block without
    it removes what was written.

    Args:
        path: of the model; its external data, if it has any, is called ``<path>_data``.
        external: whether weights go to a file of their own; None does so where they must.
    """

    def __init__(self, path: Path, *, external: bool | None = None) -> None:
        self.path = path
        self._external = external
        self._spool_path = temporary(path.with_name(path.name + DATA_SUFFIX))
        self._spool = self._spool_path.open("wb")
        self._weights: dict[str, SpooledTensor] = {}
        self._constants: dict[str, onnx.TensorProto] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: DType, *shape: Dimension) -> str:
        """Declare an input; dimensions given by name are free."""
        self._inputs.append(onnx.helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], shape))
        return name

    def output(self, name: str, dtype: DType, *shape: Dimension) -> str:
        """Declare an output, which a node must be made to write."""
        self._outputs.append(onnx.helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], shape))
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        domain: str = "",
        **attributes: Attribute,
    ) -> str:
        """Add a node, named after its first output; returns that output's name."""
        self._nodes.append(made_node(operator, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def cast(self, source: str, dtype: DType, target: str) -> str:
        """Convert a value to another type."""
        return self.node("Cast", [source], [target], to=ELEMENT_TYPES[dtype])

    def constant(self, name: str, value: int | Sequence[int], dtype: DType = "int64") -> str:
        """A small number or vector that stays in the graph; the same name is made once."""
        tensor = onnx.numpy_helper.from_array(np.asarray(value, dtype=np.dtype(dtype)), name)
        self._constants.setdefault(name, tensor)
        return name

    def weight(self, name: str, tensor: Array) -> str:
        """Write a whole weight."""
        return self.weight_parts(name, tensor.shape, [tensor])

    def weight_parts(self, name: str, shape: Sequence[int], parts: Iterable[Array]) -> str:
        """Write a weight piece by piece.

        Args:
            name: of the weight; no other may have it.
            shape: of the whole.
            parts: contiguous pieces of it, in order, all of one type.

        Raises:
            ArtifactError: a value is not finite, or the pieces are not the whole.
        """
        offset = self._aligned()
        dtype, written = "", 0
        for part in parts:
            if part.dtype.kind == "f" and not np.isfinite(part).all():
                raise ArtifactError(
                    f"{self.path.name}: {name} is not finite as {part.dtype}",
                    "export this part as fp32; if it still fails, the checkpoint is damaged",
                )
            dtype = part.dtype.name
            written += self._spool.write(np.ascontiguousarray(part).data.cast("B"))
        if name in self._weights or dtype not in ELEMENT_TYPES or written != n_bytes(dtype, shape):
            raise ArtifactError(
                f"{self.path.name}: {written:,} bytes of {name} do not make {dtype} {shape}",
                "this is a fault of the exporter: please report it",
            )
        self._weights[name] = SpooledTensor(name, dtype, tuple(shape), offset, written)  # type: ignore[arg-type]
        return name

    def adopt(self, source: onnx.ModelProto) -> None:
        """Take over another model's inputs, outputs, nodes and weights.

        Raises:
            ArtifactError: it is of another opset, or has functions or subgraphs' weights.
        """
        opsets = {entry.domain: entry.version for entry in source.opset_import}
        if opsets.get("") != OPSET or source.functions:
            raise ArtifactError(
                f"{self.path.name}: a graph of opsets {opsets} with {len(source.functions)} "
                "functions cannot be taken over",
                "this is a fault of the exporter: please report it",
            )
        for field in ("input", "output"):
            for value in getattr(source.graph, field):
                described = onnx.ValueInfoProto(name=value.name, type=value.type)
                (self._inputs if field == "input" else self._outputs).append(described)
        for node in source.graph.node:
            plain = copy.copy(node)
            plain.ClearField("metadata_props")
            plain.ClearField("doc_string")
            self._nodes.append(plain)
        for tensor in source.graph.initializer:
            array = onnx.numpy_helper.to_array(tensor)
            if array.nbytes < _SMALL_BYTES:  # shapes and axes are read before external data is
                self._constants[tensor.name] = onnx.numpy_helper.from_array(array, tensor.name)
            else:
                self.weight(tensor.name, array)

    def finish(self) -> tuple[Path, ...]:
        """Complete the model and give its files their names.

        Returns:
            The files, the model first.

        Raises:
            ArtifactError: the weights shall be inside, and are too many for one message.
        """
        total = self._spool.tell()
        external = total > INLINE_LIMIT if self._external is None else self._external
        if not external and total > INLINE_LIMIT:
            raise ArtifactError(
                f"{self.path.name}: {total:,} bytes of weights do not fit into one ONNX file",
                "let them lie beside it",
            )
        synced(self._spool)
        self._spool.close()
        unfinished = temporary(self.path)
        data = self.path.with_name(self.path.name + DATA_SUFFIX)
        try:
            with unfinished.open("wb") as file:
                if external:
                    file.write(self._model(data.name).SerializeToString())
                else:
                    self._write_whole(file)
                synced(file)
            # At no moment does a model lie over another one's data: that would compute nonsense.
            if external:
                self.path.unlink(missing_ok=True)
                self._spool_path.replace(data)
            unfinished.replace(self.path)
        finally:
            unfinished.unlink(missing_ok=True)
        if external:
            return self.path, data
        data.unlink(missing_ok=True)
        return (self.path,)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._spool.close()
        self._spool_path.unlink(missing_ok=True)

    def _aligned(self) -> int:
        self._spool.write(b"\0" * (-self._spool.tell() % _ALIGNMENT))
        return self._spool.tell()

    def _model(self, data_name: str | None) -> onnx.ModelProto:
        """The model without its weights, or with references to where they lie."""
        weights = [] if data_name is None else self._weights.values()
        graph = onnx.helper.make_graph(
            self._nodes,
            self.path.stem,
            self._inputs,
            self._outputs,
            [
                *self._constants.values(),
                *(weight.reference(str(data_name)) for weight in weights),
            ],
        )
        opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(CONTRIB, 1)]
        return onnx.helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="edgecritic"
        )

    def _write_whole(self, file: IO[bytes]) -> None:
        """The model with all weights inside, copied one by one from the spool."""
        model = self._model(None)
        graph = model.graph.SerializeToString()
        model.ClearField("graph")
        heads = {weight: weight.head() for weight in self._weights.values()}
        length = len(graph) + sum(len(head) + weight.nbytes for weight, head in heads.items())
        file.write(model.SerializeToString())
        file.write(graph_head(length))
        file.write(graph)
        with self._spool_path.open("rb") as spool:
            for weight, head in heads.items():
                file.write(head)
                weight.copy(spool, file)


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
    """
    with ModelFile(path, external=external) as model:
        model.adopt(source)
        return model.finish()


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


def synced(file: IO[bytes]) -> None:
    """Have everything written so far on the disk."""
    file.flush()
    os.fsync(file.fileno())
