"""JSON Schema to a grammar of the JSON that it allows.

What comes out is plain JSON: one blank behind ``:`` and ``,``, keys in the schema's order, numbers
without exponents. Keywords that would restrict the text and that are not understood are errors:
a schema is followed, or it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Final, cast

from edgecritic.errors import InputError, shown
from edgecritic.judging.grammar import Part, Repeated, begin, either, in_turn, literal
from edgecritic.judging.json_parts import (
    ANY_NUMBER,
    BOOLEAN,
    CHARACTER,
    DIGIT,
    FRACTION,
    NONZERO,
    SIGN,
    WHOLE,
    any_members,
    any_object,
    anything,
    array_of,
    object_of,
)

_MOST_KEYS: Final = 64
_MOST_CHOICES: Final = 1024
_MOST_LISTED: Final = 1000
# Of the schemas within one schema, how deep they lie, and the characters of its constants.
_MOST_PARTS: Final = 4096
_DEEPEST: Final = 64
_MOST_TEXT: Final = 1 << 16
_ANNOTATIONS: Final = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
    | {"$schema", "$id", "$comment", "$defs", "definitions", "strict"}
)
_SHARED: Final = ("$ref", "const", "enum", "anyOf", "oneOf", "allOf")
_OF_KIND: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength"}),
    "integer": frozenset({"minimum", "maximum"}),
    "number": frozenset({"minimum", "maximum"}),
    "boolean": frozenset(),
    "null": frozenset(),
}
_KNOWN = _ANNOTATIONS.union({"type"}, _SHARED, *_OF_KIND.values())
_TYPES: Final = {"object": dict, "array": list, "string": str, "boolean": bool, "null": NoneType}
_NUMERIC: Final = b"-0123456789"
_FIRST: Final[Mapping[str, bytes]] = {
    "object": b"{",
    "array": b"[",
    "string": b'"',
    "integer": _NUMERIC,
    "number": _NUMERIC,
    "boolean": b"tf",
    "null": b"n",
}


def json_grammar(schema: object) -> Part:
    """The grammar of a schema.

    Args:
        schema: JSON Schema, decoded; references lead to its own ``$defs`` or ``definitions``.

    Raises:
        InputError: a keyword is not understood, or the schema allows nothing.
    """
    return _Compiler(schema).part(schema, "the schema")


class _Compiler:
    def __init__(self, root: object) -> None:
        self._root = root
        self._referred: dict[str, Part | None] = {}
        self._n_parts = self._n_text = self._depth = 0

    def part(self, schema: object, where: str) -> Part:
        """The grammar of one schema."""
        self._n_parts += 1
        self._depth += 1
        if self._n_parts > _MOST_PARTS or self._depth > _DEEPEST:
            raise _wrong("the schema", "is too large, or too deep")
        made = self._part(schema, where)
        self._depth -= 1
        return made

    def _part(self, schema: object, where: str) -> Part:
        if schema is True or schema == {}:
            return anything()
        if not isinstance(schema, Mapping):
            raise _wrong(where, f"is {shown(schema)}, not an object")
        if unknown := schema.keys() - _KNOWN:
            raise _wrong(where, f"has {shown(min(unknown, key=str))}, which is not supported")
        kinds = _kinds(schema, where)
        shared = [key for key in _SHARED if key in schema]
        if not shared:
            return self._either([self._of_kind(kind, schema, where) for kind in kinds], where)
        constant = shared[0] in ("const", "enum")
        alone = {"type", "const", "enum"} if constant else {"type", shared[0]}
        if beside := schema.keys() - _ANNOTATIONS - alone:
            raise _wrong(where, f"has {shared[0]} beside {min(beside)}, which is not supported")
        if constant:
            return self._constants(schema, kinds, where)
        part = self._combined(schema, shared[0], where)
        if "type" in schema and not begin(part).following <= _first_bytes(kinds):
            raise _wrong(where, f"has {shared[0]} beside another type, which is not supported")
        return part

    def _constants(self, schema: Mapping[str, Any], kinds: Sequence[str], where: str) -> Part:
        values = _list(schema, "enum", where) if "enum" in schema else [schema["const"]]
        if "const" in schema:  # some tools write a constant both ways
            values = [value for value in values if value == schema["const"]][:1]
        if "type" in schema:
            values = [value for value in values if any(_is_kind(value, kind) for kind in kinds)]
        texts = [json.dumps(value, ensure_ascii=False) for value in values]
        self._note(*texts)
        return self._either([literal(text.encode()) for text in texts], where)

    def _combined(self, schema: Mapping[str, Any], key: str, where: str) -> Part:
        """A reference, or a choice of schemas."""
        if key == "$ref":
            return self._at(schema[key], where)
        choices = _list(schema, key, where)
        if key == "allOf" and len(choices) != 1:
            raise _wrong(where, "has allOf of several, which is not supported")
        return self._either([self.part(one, f"{where}: {key}") for one in choices], where)

    def _either(self, parts: Sequence[Part], where: str) -> Part:
        if not 1 <= len(parts) <= _MOST_CHOICES:
            raise _wrong(where, f"has {len(parts)} choices")
        return parts[0] if len(parts) == 1 else either(parts)

    def _note(self, *texts: str) -> None:
        """Count the characters of constants."""
        self._n_text += sum(map(len, texts))
        if self._n_text > _MOST_TEXT:
            raise _wrong("the schema", f"has over {_MOST_TEXT:,} characters of names and constants")

    def _at(self, name: object, where: str) -> Part:
        """What a reference leads to; made once, however many lead there."""
        if not isinstance(name, str) or not name.startswith("#/"):
            raise _wrong(where, f"refers to {shown(name)}")
        if name not in self._referred:
            self._referred[name] = None
            self._referred[name] = self.part(self._found(name, where), shown(name))
        if (part := self._referred[name]) is None:
            raise _wrong(where, f"holds itself by {shown(name)}, which is not supported")
        return part

    def _found(self, name: str, where: str) -> object:
        found: object = self._root
        for key in name[2:].split("/"):
            plain = key.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or plain not in found:
                raise _wrong(where, f"refers to {shown(name)}, which is not there")
            found = found[plain]
        return found

    def _of_kind(self, kind: str, schema: Mapping[str, Any], where: str) -> Part:
        if kind == "object":
            return self._object(schema, where)
        if kind == "array":
            return self._array(schema, where)
        if kind == "string":
            low, high = _bounds(schema, "minLength", "maxLength", where)
            return in_turn(b'"', Repeated(CHARACTER, low, high), b'"')
        if kind in ("integer", "number"):
            return self._number(schema, kind == "integer", where)
        return BOOLEAN if kind == "boolean" else literal(b"null")

    def _object(self, schema: Mapping[str, Any], where: str) -> Part:
        properties = schema.get("properties", {})
        if not isinstance(properties, Mapping) or len(properties) > _MOST_KEYS:
            raise _wrong(where, "has properties that are no object, or too many")
        required = _list(schema, "required", where) if "required" in schema else []
        more = schema.get("additionalProperties", True)
        if missing := [n for n in required if not isinstance(n, str) or n not in properties]:
            raise _wrong(where, f"requires {shown(missing[0])}, which it does not describe")
        if not properties and more is not False:
            if more is True or more == {}:
                return any_object()
            return any_members(self.part(more, f"{where}: additionalProperties"))
        self._note(*properties)
        members = [
            (
                in_turn(_constant(name), b": ", self.part(one, f"{where}: {name}")),
                name in required,
            )
            for name, one in properties.items()
        ]
        return object_of(members)

    def _array(self, schema: Mapping[str, Any], where: str) -> Part:
        low, high = _bounds(schema, "minItems", "maxItems", where)
        item = self.part(schema.get("items", True), f"{where}: items")
        return array_of(item, low, high)

    def _number(self, schema: Mapping[str, Any], whole: bool, where: str) -> Part:
        low, high = (_whole_bound(schema, key, where) for key in ("minimum", "maximum"))
        if low is None and high is None:
            return in_turn(SIGN, WHOLE) if whole else ANY_NUMBER
        if high is None and low in (0, 1):
            positive = in_turn(NONZERO, Repeated(DIGIT, 0, 14))
            head = positive if low else WHOLE
            return head if whole else in_turn(head, FRACTION)
        if low is None or high is None or not 0 <= high - low <= _MOST_LISTED:
            raise _wrong(where, f"has the bounds {low} and {high}, which are not supported")
        if not whole and low < 0:
            raise _wrong(where, "has a negative bound of a number, which is not supported")
        texts = [str(level) for level in range(low, high + 1)]
        self._note(*texts)
        levels = [literal(text.encode()) for text in texts]
        if whole:
            return either(levels)
        zeros = Repeated(in_turn(b".", Repeated(literal(b"0"), 1, 6)), 0, 1)
        return either(
            [*(in_turn(level, FRACTION) for level in levels[:-1]), in_turn(levels[-1], zeros)]
        )


def _whole_bound(schema: Mapping[str, Any], key: str, where: str) -> int | None:
    bound = schema.get(key)
    if bound is None:
        return None
    if isinstance(bound, bool) or not isinstance(bound, int | float) or bound != int(bound):
        raise _wrong(where, f"has {key} {shown(bound)}, not a whole number")
    return int(bound)


def _constant(value: object) -> Part:
    return literal(json.dumps(value, ensure_ascii=False).encode())


def _is_kind(value: object, kind: str) -> bool:
    """A constant is of that type, as JSON Schema has it."""
    if kind in ("integer", "number"):
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        return plain and (kind == "number" or value == int(cast(float, value)))
    return isinstance(value, _TYPES[kind])


def _first_bytes(kinds: Sequence[str]) -> frozenset[int]:
    """With which values of these types begin; a whole number begins like any other."""
    if "integer" in kinds and "number" not in kinds:
        kinds = [kind for kind in kinds if kind != "integer"]
    return frozenset(b"".join(_FIRST[kind] for kind in kinds))


def _kinds(schema: Mapping[str, Any], where: str) -> list[str]:
    """The types that a schema states, or speaks of."""
    if "type" not in schema:
        return _implied(schema)
    stated = schema["type"]
    listed = [stated] if isinstance(stated, str) else stated
    if not isinstance(listed, list) or not all(
        isinstance(k, str) and k in _OF_KIND for k in listed
    ):
        raise _wrong(where, f"has the type {shown(stated)}")
    return list(dict.fromkeys(listed))


def _implied(schema: Mapping[str, Any]) -> list[str]:
    """The types that a schema without one speaks of."""
    named = [kind for kind, keys in _OF_KIND.items() if keys & schema.keys()]
    return named[:1] or ["string", "number", "boolean", "null"]


def _bounds(schema: Mapping[str, Any], least: str, most: str, where: str) -> tuple[int, int | None]:
    low, high = schema.get(least, 0), schema.get(most)
    for bound in (low, high):
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int)):
            raise _wrong(where, f"has the bound {shown(bound)}")
    if low < 0 or (high is not None and high < low):
        raise _wrong(where, f"has {least} {low} and {most} {high}")
    return low, high


def _list(schema: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = schema[key]
    if not isinstance(value, list):
        raise _wrong(where, f"has {key} {shown(value)}")
    return value


def _wrong(where: str, what: str) -> InputError:
    return InputError(
        f"{where} {what}",
        "use type, properties, required, items, enum, const, anyOf and plain bounds",
    )
