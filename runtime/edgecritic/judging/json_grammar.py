"""JSON Schema to a grammar of the JSON that it allows.

What comes out is plain JSON: one blank behind ``:`` and ``,``, keys in the schema's order, numbers
without exponents. Keywords that would restrict the text and that are not understood are errors:
a schema is followed, or it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgecritic.errors import InputError, shown
from edgecritic.judging.grammar import Later, OneOf, Part, Repeated, either, in_turn, literal

_DEPTH = 4
_MOST_KEYS: Final = 64
_MOST_CHOICES: Final = 1024
_MOST_LISTED: Final = 1000
_ANNOTATIONS: Final = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
    | {"$schema", "$id", "$comment", "$defs", "definitions", "strict"}
)
_SHARED: Final = frozenset({"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"})
_OF_KIND: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength"}),
    "integer": frozenset({"minimum", "maximum"}),
    "number": frozenset({"minimum", "maximum"}),
    "boolean": frozenset(),
    "null": frozenset(),
}
_KNOWN = _ANNOTATIONS | _SHARED | frozenset[str]().union(*_OF_KIND.values())


def _bytes(first: int, last: int) -> OneOf:
    return OneOf(range(first, last + 1))


_DIGIT = _bytes(0x30, 0x39)
_NONZERO = _bytes(0x31, 0x39)
_HEX = OneOf(b"0123456789abcdefABCDEF")
_MORE = _bytes(0x80, 0xBF)
# Source: the well-formed UTF-8 of Unicode 15, table 3-7.
_CHARACTER = either(
    [
        OneOf(frozenset(range(0x20, 0x80)) - frozenset(b'"\\')),
        in_turn(b"\\", OneOf(b'"\\/bfnrt')),
        in_turn(b"\\u", OneOf(b"0123456789abcefABCEF"), _HEX, _HEX, _HEX),
        in_turn(_bytes(0xC2, 0xDF), _MORE),
        in_turn(b"\xe0", _bytes(0xA0, 0xBF), _MORE),
        in_turn(_bytes(0xE1, 0xEC), _MORE, _MORE),
        in_turn(b"\xed", _bytes(0x80, 0x9F), _MORE),
        in_turn(_bytes(0xEE, 0xEF), _MORE, _MORE),
        in_turn(b"\xf0", _bytes(0x90, 0xBF), _MORE, _MORE),
        in_turn(_bytes(0xF1, 0xF3), _MORE, _MORE, _MORE),
        in_turn(b"\xf4", _bytes(0x80, 0x8F), _MORE, _MORE),
    ]
)
_WHOLE = either([b"0", in_turn(_NONZERO, Repeated(_DIGIT, 0, 14))])
_SIGN = Repeated(literal(b"-"), 0, 1)
_FRACTION = Repeated(in_turn(b".", Repeated(_DIGIT, 1, 6)), 0, 1)
_BOOLEAN = either([b"true", b"false"])
_ANY_STRING = in_turn(b'"', Repeated(_CHARACTER), b'"')
_ANY_NUMBER = in_turn(_SIGN, _WHOLE, _FRACTION)


def json_object() -> Part:
    """Any JSON object that is not empty: whoever asks for one wants something in it."""
    return _filled(_ANY_STRING, Later(lambda: _anything(_DEPTH - 1), b"0"))


def json_grammar(schema: object) -> Part:
    """The grammar of a schema.

    Args:
        schema: JSON Schema, decoded; references lead to its own ``$defs`` or ``definitions``.

    Raises:
        InputError: a keyword is not understood, or the schema allows nothing.
    """
    return _Compiler(schema).part(schema, "the schema", ())


class _Compiler:
    def __init__(self, root: object) -> None:
        self._root = root

    def part(self, schema: object, where: str, through: tuple[str, ...]) -> Part:
        """The grammar of one schema; `through` names the references that led to it."""
        if schema is True or schema == {}:
            return _anything(_DEPTH)
        if not isinstance(schema, Mapping):
            raise _wrong(where, f"is {shown(schema)}, not an object")
        if unknown := schema.keys() - _KNOWN:
            raise _wrong(where, f"has {shown(min(unknown, key=str))}, which is not supported")
        if "$ref" in schema:
            return self._referred(schema["$ref"], where, through)
        if "const" in schema:
            return _constant(schema["const"])
        if "enum" in schema:
            return self._either([_constant(value) for value in _list(schema, "enum", where)], where)
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                choices = _list(schema, key, where)
                if key == "allOf" and len(choices) != 1:
                    raise _wrong(where, "has allOf of several, which is not supported")
                parts = [self.part(choice, f"{where}: {key}", through) for choice in choices]
                return self._either(parts, where)
        kinds = schema.get("type") or _implied(schema)
        listed = [kinds] if isinstance(kinds, str) else kinds
        if not isinstance(listed, list) or not all(kind in _OF_KIND for kind in listed):
            raise _wrong(where, f"has the type {shown(kinds)}")
        return self._either([self._of_kind(k, schema, where, through) for k in listed], where)

    def _either(self, parts: Sequence[Part], where: str) -> Part:
        if not 1 <= len(parts) <= _MOST_CHOICES:
            raise _wrong(where, f"has {len(parts)} choices")
        return parts[0] if len(parts) == 1 else either(parts)

    def _referred(self, name: object, where: str, through: tuple[str, ...]) -> Part:
        if not isinstance(name, str) or not name.startswith("#/"):
            raise _wrong(where, f"refers to {shown(name)}")
        if name in through:
            raise _wrong(where, f"holds itself by {shown(name)}, which is not supported")
        found: object = self._root
        for key in name[2:].split("/"):
            plain = key.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or plain not in found:
                raise _wrong(where, f"refers to {shown(name)}, which is not there")
            found = found[plain]
        return self.part(found, name, (*through, name))

    def _of_kind(
        self, kind: str, schema: Mapping[str, Any], where: str, through: tuple[str, ...]
    ) -> Part:
        if kind == "object":
            return self._object(schema, where, through)
        if kind == "array":
            return self._array(schema, where, through)
        if kind == "string":
            low, high = _bounds(schema, "minLength", "maxLength", where)
            return in_turn(b'"', Repeated(_CHARACTER, low, high), b'"')
        if kind in ("integer", "number"):
            return _number(schema, kind == "integer", where)
        return _BOOLEAN if kind == "boolean" else literal(b"null")

    def _object(self, schema: Mapping[str, Any], where: str, through: tuple[str, ...]) -> Part:
        properties = schema.get("properties", {})
        if not isinstance(properties, Mapping) or len(properties) > _MOST_KEYS:
            raise _wrong(where, "has properties that are no object, or too many")
        required = _list(schema, "required", where) if "required" in schema else []
        more = schema.get("additionalProperties", True)
        if missing := [name for name in required if name not in properties]:
            raise _wrong(where, f"requires {shown(missing[0])}, which it does not describe")
        if not properties and more is not False:
            if more is True or more == {}:
                return _any_object(_DEPTH)
            return _braced(_ANY_STRING, self.part(more, f"{where}: additionalProperties", through))
        members = [
            (
                in_turn(_constant(name), b": ", self.part(one, f"{where}: {name}", through)),
                name in required,
            )
            for name, one in properties.items()
        ]
        return in_turn(b"{", _members(members, 0, False, {}), b"}")

    def _array(self, schema: Mapping[str, Any], where: str, through: tuple[str, ...]) -> Part:
        low, high = _bounds(schema, "minItems", "maxItems", where)
        item = self.part(schema.get("items", True), f"{where}: items", through)
        return _listed(item, low, high)


def _members(
    members: Sequence[tuple[Part, bool]], place: int, begun: bool, made: dict[object, Part]
) -> Part:
    """What may follow when all members before `place` were dealt with."""
    if place == len(members):
        return literal(b"")
    key = (place, begun)
    if key not in made:
        member, required = members[place]
        taken = in_turn(b", " if begun else b"", member, _members(members, place + 1, True, made))
        skipped = [] if required else [_members(members, place + 1, begun, made)]
        made[key] = either([taken, *skipped])
    return made[key]


def _listed(item: Part, low: int, high: int | None) -> Part:
    if high == 0:
        return literal(b"[]")
    rest = Repeated(in_turn(b", ", item), max(0, low - 1), None if high is None else high - 1)
    filled = in_turn(b"[", item, rest, b"]")
    return filled if low else either([b"[]", filled])


def _braced(name: Part, value: Part) -> Part:
    return either([b"{}", _filled(name, value)])


def _filled(name: Part, value: Part) -> Part:
    member = in_turn(name, b": ", value)
    return in_turn(b"{", member, Repeated(in_turn(b", ", member)), b"}")


def _any_object(depth: int) -> Part:
    return _braced(_ANY_STRING, Later(lambda: _anything(depth - 1), b"0"))


def _anything(depth: int) -> Part:
    plain = [_ANY_STRING, _ANY_NUMBER, _BOOLEAN, literal(b"null")]
    if not depth:
        return either(plain)
    items = _listed(Later(lambda: _anything(depth - 1), b"0"), 0, None)
    return either([*plain, items, _any_object(depth)])


def _number(schema: Mapping[str, Any], whole: bool, where: str) -> Part:
    low, high = schema.get("minimum"), schema.get("maximum")
    for bound in (low, high):
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)):
            raise _wrong(where, f"has the bound {shown(bound)}")
        if bound is not None and bound != int(bound):
            raise _wrong(where, f"has the bound {bound}, which is no whole number: not supported")
    if low is None and high is None:
        return in_turn(_SIGN, _WHOLE) if whole else _ANY_NUMBER
    if high is None and low in (0, 1):
        positive = in_turn(_NONZERO, Repeated(_DIGIT, 0, 14))
        head = positive if low else _WHOLE
        return head if whole else in_turn(head, _FRACTION)
    if low is None or high is None or not 0 <= high - low <= _MOST_LISTED:
        raise _wrong(where, f"has the bounds {low} and {high}, which are not supported")
    if not whole and low < 0:
        raise _wrong(where, "has a negative bound of a number, which is not supported")
    levels = [literal(str(level).encode()) for level in range(int(low), int(high) + 1)]
    if whole:
        return either(levels)
    zeros = Repeated(in_turn(b".", Repeated(literal(b"0"), 1, 6)), 0, 1)
    return either(
        [*(in_turn(level, _FRACTION) for level in levels[:-1]), in_turn(levels[-1], zeros)]
    )


def _constant(value: object) -> Part:
    return literal(json.dumps(value, ensure_ascii=False).encode())


def _implied(schema: Mapping[str, Any]) -> list[str]:
    """The kinds that a schema without a type speaks of."""
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
