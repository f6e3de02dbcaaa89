"""What an ONNX file claims to be, read before ONNX Runtime opens it.

A bounded walk over the protobuf: inputs, outputs, operators, and every other file that the model
wants read. Weights are stepped over. Numbers from the file allocate nothing, and nesting is
limited. Where protobuf would merge what occurs twice, everything is taken, so nothing that
ONNX Runtime may see stays unseen here.

Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from edgecritic.errors import ArtifactError

MAX_DEPTH: Final = 12
MAX_FIELDS: Final = 4_000_000
MAX_TEXT_BYTES: Final = 4096
DAMAGED_HINT: Final = "the file is damaged or no ONNX file: fetch or export it again"
ELEMENT_TYPES: Final = MappingProxyType(
    {1: "float32", 6: "int32", 7: "int64", 10: "float16", 11: "float64", 16: "bfloat16"}
)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf wire types
# Protobuf's C++ keeps the low 32 bits of a longer tag, and so reads a field of another number.
_LARGEST_TAG: Final = 0xFFFF_FFFF
_NOBODYS: Final = 0

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTION = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 11, 12, 15
_FUNCTION_NODE, _FUNCTION_DEFAULTS = 7, 11
_NODE_INPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_DIMENSION, _TENSOR_NAME, _TENSOR_EXTERNAL = 1, 8, 13

Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the graph.

    Attributes:
        element: ``"float32"``, ``"int64"``, ..., or ``"?"`` for what no file of ours has.
        shape: a number where the size is fixed, None where it is free.
    """

    element: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Operator:
    """A node of the graph or of one below it: ``domain:type``, or ``type`` for ONNX's own."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """The claims of one file.

    Attributes:
        path: the file.
        inputs: by name; older files list initializers here, too, which are left out.
        outputs: by name.
        operators: in the file's order, those of functions and inner graphs included.
        initializers: shapes of the graph's weights by name.
        external: files that hold weights, as the model names them.
    """

    path: Path
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    operators: tuple[Operator, ...]
    initializers: Mapping[str, tuple[int, ...]]
    external: frozenset[str]


def read_header(path: Path) -> OnnxHeader:
    """Read a file's claims.

    Raises:
        ArtifactError: it cannot be read, is no ONNX model, or is nested beyond all reason.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            walk = _Walk(path, data)
            walk.model((0, len(data)))
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise ArtifactError(f"{path} cannot be read: {error}", DAMAGED_HINT) from error
    if not walk.outputs:
        raise ArtifactError(f"{path} holds no ONNX graph", DAMAGED_HINT)
    return OnnxHeader(
        path,
        {name: port for name, port in walk.inputs.items() if name not in walk.initializers},
        walk.outputs,
        tuple(walk.operators),
        walk.initializers,
        frozenset(walk.external),
    )


@dataclass(slots=True)
class _Walk:
    """One walk over a file."""

    path: Path
    data: mmap.mmap
    inputs: dict[str, Port] = field(default_factory=dict)
    outputs: dict[str, Port] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    initializers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    external: set[str] = field(default_factory=set)
    seen: int = 0

    def model(self, span: Span) -> None:
        for number, value in self.fields(span):
            if number == _MODEL_GRAPH:
                self.graph(self.message(value), 1)
            elif number == _MODEL_FUNCTION:
                self.function(self.message(value))
            elif number == _MODEL_TRAINING:
                raise self.damaged("it is a model for training")

    def function(self, span: Span) -> None:
        for number, value in self.fields(span):
            if number == _FUNCTION_NODE:
                self.node(self.message(value), 2)
            elif number == _FUNCTION_DEFAULTS:
                self.attribute(self.message(value), 2)

    def graph(self, span: Span, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self.damaged(f"its graphs are nested more than {MAX_DEPTH} deep")
        for number, value in self.fields(span):
            if number == _GRAPH_NODE:
                self.node(self.message(value), depth + 1)
            elif number == _GRAPH_INITIALIZER:
                name, shape = self.tensor(self.message(value))
                if depth == 1:
                    self.initializers[name] = shape
            elif number == _GRAPH_SPARSE:
                self.sparse(self.message(value))
            elif depth == 1 and number in (_GRAPH_INPUT, _GRAPH_OUTPUT):
                ports = self.inputs if number == _GRAPH_INPUT else self.outputs
                name, port = self.port(self.message(value))
                ports[name] = port

    def node(self, span: Span, depth: int) -> None:
        kind = domain = ""
        inputs = []
        for number, value in self.fields(span):
            if number == _NODE_INPUT:
                inputs.append(self.text(value))
            elif number == _NODE_OPERATOR:
                kind = self.text(value)
            elif number == _NODE_DOMAIN:
                domain = self.text(value)
            elif number == _NODE_ATTRIBUTE:
                self.attribute(self.message(value), depth)
        name = f"{domain}:{kind}" if domain not in ("", "ai.onnx") else kind
        self.operators.append(Operator(name, tuple(inputs)))

    def attribute(self, span: Span, depth: int) -> None:
        for number, value in self.fields(span):
            if number in _ATTRIBUTE_TENSORS:
                self.tensor(self.message(value))
            elif number in _ATTRIBUTE_GRAPHS:
                self.graph(self.message(value), depth + 1)
            elif number in _ATTRIBUTE_SPARSE:
                self.sparse(self.message(value))

    def sparse(self, span: Span) -> None:
        for number, value in self.fields(span):
            if number in (1, 2):  # values, indices
                self.tensor(self.message(value))

    def tensor(self, span: Span) -> tuple[str, tuple[int, ...]]:
        name = ""
        shape: list[int] = []
        for number, value in self.fields(span):
            if number == _TENSOR_NAME:
                name = self.text(value)
            elif number == _TENSOR_DIMENSION:
                shape += [value] if isinstance(value, int) else self.varints(value)
            elif number == _TENSOR_EXTERNAL:
                entry = {n: self.text(text) for n, text in self.fields(self.message(value))}
                if entry.get(1) == "location":
                    self.external.add(entry.get(2, ""))
        return name, tuple(shape)

    def port(self, span: Span) -> tuple[str, Port]:
        name, element = "", "?"
        shape: tuple[int | None, ...] = ()
        for number, value in self.fields(span):
            if number == 1:
                name = self.text(value)
            elif number == 2:  # type
                for kind, tensor in self.fields(self.message(value)):
                    if kind == 1:  # tensor_type; sequences, maps and the like stay "?"
                        element, shape = self.tensor_type(self.message(tensor))
        return name, Port(element, shape)

    def tensor_type(self, span: Span) -> tuple[str, tuple[int | None, ...]]:
        element = "?"
        shape: list[int | None] = []
        for number, value in self.fields(span):
            if number == 1 and isinstance(value, int):
                element = ELEMENT_TYPES.get(value, "?")
            elif number == 2:
                for _, dimension in self.fields(self.message(value)):
                    parts = dict(self.fields(self.message(dimension)))
                    size = parts.get(1)
                    shape.append(size if isinstance(size, int) else None)
        return element, tuple(shape)

    def fields(self, span: Span) -> Iterator[tuple[int, int | Span]]:
        """Numbers and values of a message's fields: a number, or where its bytes lie."""
        at, end = span
        while at < end:
            self.count()
            start = at
            tag, at = self.varint(at, end)
            if tag > _LARGEST_TAG:
                raise self.damaged(f"a field's number at byte {start} is out of range")
            number, wire = tag >> 3, tag & 7
            if wire == _VARINT:
                value, at = self.varint(at, end)
                yield number, value
                continue
            if wire == _BYTES:
                length, at = self.varint(at, end)
            elif wire in (_FIXED32, _FIXED64):  # floats, none of which is read here
                number, length = _NOBODYS, 4 if wire == _FIXED32 else 8
            else:
                raise self.damaged(f"a field of wire type {wire} at byte {at}")
            if length > end - at:
                raise self.damaged(f"a field at byte {at} reaches behind the end of its message")
            yield number, (at, at + length)
            at += length

    def varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at
        raise self.damaged(f"no number ends at byte {at}")

    def varints(self, span: Span) -> list[int]:
        at, end = span
        values = []
        while at < end:
            self.count()
            value, at = self.varint(at, end)
            values.append(value)
        return values

    def count(self) -> None:
        self.seen += 1
        if self.seen > MAX_FIELDS:
            raise self.damaged(f"it has more than {MAX_FIELDS} fields")

    def message(self, value: int | Span) -> Span:
        if isinstance(value, int):
            raise self.damaged("a number stands where a message belongs")
        return value

    def text(self, value: int | Span) -> str:
        start, end = self.message(value)
        if end - start > MAX_TEXT_BYTES:
            raise self.damaged(f"a name has {end - start} bytes")
        return self.data[start:end].decode("utf-8", errors="replace")

    def damaged(self, why: str) -> ArtifactError:
        return ArtifactError(f"{self.path} is no usable ONNX model: {why}", DAMAGED_HINT)
