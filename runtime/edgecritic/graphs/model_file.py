"""ONNX files whose weights go to disk while they are made: no model is ever whole in memory.

Weights are spooled into one file as they come. At the end that file becomes the model's external
data, or, where everything fits into one protobuf message, is copied into the model: a message's
length precedes it, so its head can be written once all sizes are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Final, Literal, Self, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import ArtifactError
from edgecritic.graphs import wire
from edgecritic.graphs.spool import SpooledTensor, graph_head, n_bytes
from edgecritic.graphs.wire import ELEMENT_TYPES, Attribute, Dimension, DType
from edgecritic.staging import synced, temporary

Array: TypeAlias = NDArray[Any]

CONTRIB: Final = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
DATA_SUFFIX: Final = "_data"
OPSET: Final = 21
INLINE_LIMIT: Final = 1_900_000_000
"""Bytes of weights up to which a model is one file; protobuf ends at 2 GiB, nodes included."""

_IR_VERSION: Final = 10  # of opset 21; the oldest that says what the model needs
_ALIGNMENT: Final = 4096  # of external data, so that a mapped tensor starts on a page
_HEAD: Final = wire.model_head(_IR_VERSION, {"": OPSET, CONTRIB: 1})


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
        self._constants: dict[str, bytes] = {}
        self._nodes: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []

    def input(self, name: str, dtype: DType, *shape: Dimension) -> str:
        """Declare an input; dimensions given by name are free."""
        self._inputs.append(wire.port(name, dtype, shape))
        return name

    def output(self, name: str, dtype: DType, *shape: Dimension) -> str:
        """Declare an output, which a node must be made to write."""
        self._outputs.append(wire.port(name, dtype, shape))
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
        self._nodes.append(wire.node(operator, inputs, outputs, domain, attributes))
        return outputs[0]

    def cast(self, source: str, dtype: DType, target: str) -> str:
        """Convert a value to another type."""
        return self.node("Cast", [source], [target], to=ELEMENT_TYPES[dtype])

    def constant(self, name: str, value: int | Sequence[int], dtype: DType = "int64") -> str:
        """A small number or vector that stays in the graph; the same name is made once."""
        return self.small(name, np.asarray(value, dtype=np.dtype(dtype)))

    def small(self, name: str, array: Array) -> str:
        """A weight that stays in the graph, such as a shape, which is read before other files."""
        tensor = wire.tensor(name, array.dtype.name, array.shape)
        tensor.message(wire.TENSOR_RAW_DATA, array.tobytes())
        self._constants.setdefault(name, bytes(tensor))
        return name

    def adopt(self, field: Literal["input", "output", "node"], message: bytes) -> None:
        """Take over a serialized part of another model of opset `OPSET`."""
        {"input": self._inputs, "output": self._outputs, "node": self._nodes}[field].append(message)

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
        shaped = tuple(shape)
        self._weights[name] = SpooledTensor(name, cast(DType, dtype), shaped, offset, written)
        return name

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
                    self._write_apart(file, data.name)
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

    def __exit__(self, *exc: object) -> None:
        self._spool.close()
        self._spool_path.unlink(missing_ok=True)

    def _aligned(self) -> int:
        self._spool.write(b"\0" * (-self._spool.tell() % _ALIGNMENT))
        return self._spool.tell()

    def _graph(self, references: Iterable[bytes] = ()) -> bytes:
        """The graph without its weights, or with references to where they lie."""
        graph = wire.Message()
        for node in self._nodes:
            graph.message(wire.GRAPH_NODE, node)
        graph.text(wire.GRAPH_NAME, self.path.stem)
        for weight in (*self._constants.values(), *references):
            graph.message(wire.GRAPH_INITIALIZER, weight)
        for number, ports in (
            (wire.GRAPH_INPUT, self._inputs),
            (wire.GRAPH_OUTPUT, self._outputs),
        ):
            for port in ports:
                graph.message(number, port)
        return bytes(graph)

    def _write_apart(self, file: IO[bytes], data_name: str) -> None:
        """The model, with references to where its weights lie."""
        graph = self._graph(weight.reference(data_name) for weight in self._weights.values())
        file.write(_HEAD + graph_head(len(graph)) + graph)

    def _write_whole(self, file: IO[bytes]) -> None:
        """The model with all weights inside, copied one by one from the spool."""
        graph = self._graph()
        heads = {weight: weight.head() for weight in self._weights.values()}
        length = len(graph) + sum(len(head) + weight.nbytes for weight, head in heads.items())
        file.write(_HEAD + graph_head(length) + graph)
        with self._spool_path.open("rb") as spool:
            for weight, head in heads.items():
                file.write(head)
                weight.copy(spool, file)
