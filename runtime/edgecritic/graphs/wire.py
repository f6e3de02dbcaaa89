"""Messages of onnx.proto as bytes.

Sources: protobuf's "Encoding" for the wire format, onnx.proto for the numbers of the fields.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self, TypeAlias

DType: TypeAlias = Literal["float32", "float16", "int64", "int32", "uint8"]
Dimension: TypeAlias = int | str
Attribute: TypeAlias = int | float | str | Sequence[int]

ELEMENT_TYPES: Final[Mapping[str, int]] = {
    "float32": 1,
    "uint8": 2,
    "int32": 6,
    "int64": 7,
    "float16": 10,
}
GRAPH_NODE, GRAPH_NAME, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 1, 2, 5, 11, 12
MODEL_GRAPH: Final = 7
TENSOR_RAW_DATA: Final = 9

_VARINT, _BYTES, _FIXED32 = 0, 2, 5  # wire types
_IR_VERSION, _PRODUCER, _OPSET = 1, 2, 8
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME = 1, 2, 3
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_TEXT, _ATTRIBUTE_INTS = 1, 2, 3, 4, 8
_ATTRIBUTE_KIND, _KIND_FLOAT, _KIND_INT, _KIND_TEXT, _KIND_INTS = 20, 1, 2, 3, 7
_TENSOR_DIMENSION, _TENSOR_TYPE, _TENSOR_NAME = 1, 2, 8
_TENSOR_EXTERNAL, _TENSOR_LOCATION, _IS_EXTERNAL = 13, 14, 1
_ENTRY_KEY, _ENTRY_VALUE = 1, 2


class Message:
    """Fields of a message, one behind the other."""

    def __init__(self) -> None:
        self._data = bytearray()

    def integer(self, number: int, value: int) -> Self:
        """Add an int64."""
        self._data += varint(number << 3 | _VARINT) + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
        return self

    def real(self, number: int, value: float) -> Self:
        """Add a float."""
        self._data += varint(number << 3 | _FIXED32) + struct.pack("<f", value)
        return self

    def text(self, number: int, value: str) -> Self:
        """Add a string."""
        return self.message(number, value.encode())

    def message(self, number: int, value: Message | bytes) -> Self:
        """Add a message, or bytes."""
        content = bytes(value)
        self._data += head(number, len(content)) + content
        return self

    def __bytes__(self) -> bytes:
        return bytes(self._data)


def varint(value: int) -> bytes:
    """A variable-length integer: seven bits a byte, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def head(number: int, length: int) -> bytes:
    """What stands before a field of so many bytes."""
    return varint(number << 3 | _BYTES) + varint(length)


def node(
    operator: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    domain: str,
    attributes: Mapping[str, Attribute],
) -> bytes:
    """A node, named after its first output."""
    made = Message()
    for name in inputs:
        made.text(_NODE_INPUT, name)
    for name in outputs:
        made.text(_NODE_OUTPUT, name)
    made.text(_NODE_NAME, f"{outputs[0]}/{operator}").text(_NODE_OPERATOR, operator)
    for name in sorted(attributes):
        made.message(_NODE_ATTRIBUTE, _attribute(name, attributes[name]))
    return bytes(made.text(_NODE_DOMAIN, domain) if domain else made)


def _attribute(name: str, value: Attribute) -> Message:
    made = Message().text(_ATTRIBUTE_NAME, name)
    if isinstance(value, float):
        return made.real(_ATTRIBUTE_FLOAT, value).integer(_ATTRIBUTE_KIND, _KIND_FLOAT)
    if isinstance(value, int):
        return made.integer(_ATTRIBUTE_INT, value).integer(_ATTRIBUTE_KIND, _KIND_INT)
    if isinstance(value, str):
        return made.text(_ATTRIBUTE_TEXT, value).integer(_ATTRIBUTE_KIND, _KIND_TEXT)
    for item in value:
        made.integer(_ATTRIBUTE_INTS, item)
    return made.integer(_ATTRIBUTE_KIND, _KIND_INTS)


def tensor(name: str, dtype: str, shape: Sequence[int]) -> Message:
    """Type, shape and name of a tensor; its elements come behind."""
    made = Message()
    for size in shape:
        made.integer(_TENSOR_DIMENSION, size)
    return made.integer(_TENSOR_TYPE, ELEMENT_TYPES[dtype]).text(_TENSOR_NAME, name)


def placed(tensor: Message, place: Mapping[str, str]) -> bytes:
    """A tensor whose elements lie in another file: ``location``, ``offset`` and ``length``."""
    for key, value in place.items():
        entry = Message().text(_ENTRY_KEY, key).text(_ENTRY_VALUE, value)
        tensor.message(_TENSOR_EXTERNAL, entry)
    return bytes(tensor.integer(_TENSOR_LOCATION, _IS_EXTERNAL))


def port(name: str, dtype: str, shape: Sequence[Dimension]) -> bytes:
    """An input or output; dimensions given by name are free."""
    dimensions = Message()
    for size in shape:
        one = Message()
        dimensions.message(1, one.text(2, size) if isinstance(size, str) else one.integer(1, size))
    elements = Message().integer(1, ELEMENT_TYPES[dtype]).message(2, dimensions)
    return bytes(Message().text(1, name).message(2, Message().message(1, elements)))


def model_head(ir_version: int, opsets: Mapping[str, int]) -> bytes:
    """Everything of a model but its graph, which comes behind."""
    made = Message().integer(_IR_VERSION, ir_version).text(_PRODUCER, "edgecritic")
    for domain, version in opsets.items():
        entry = Message().text(_OPSET_DOMAIN, domain).integer(_OPSET_VERSION, version)
        made.message(_OPSET, entry)
    return bytes(made)
