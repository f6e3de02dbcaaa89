"""Checks decoded JSON against the part of JSON Schema that our schemas use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from edgecritic.errors import shown
from edgecritic.server.failures import Failure, bad_request

Schema: TypeAlias = Mapping[str, Any]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    """As JSON has it, where 1.0 is 1."""
    return isinstance(value, int | float) and _is_number(value) and value == int(value)


_KINDS: Mapping[str, Callable[[object], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "integer": _is_whole,
    "number": _is_number,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def check(value: object, schema: Schema, where: str = "the request") -> None:
    """See that `value` is as `schema` says.

    Args:
        value: decoded JSON.
        schema: understood are type, enum, const, anyOf, properties, required,
            additionalProperties (true, false), items, minItems, maxItems, minLength, maxLength,
            pattern, minimum and maximum; all else is description.
        where: its place, for messages.

    Raises:
        Failure: it is not; a 400 that names the place.
    """
    if "anyOf" in schema:
        _check_any(value, schema["anyOf"], where)
    kinds = schema.get("type")
    if kinds is not None and not any(_KINDS[kind](value) for kind in _listed(kinds)):
        raise _wrong(where, value, f"not {' or '.join(_listed(kinds))}")
    if "enum" in schema and not _in(value, schema["enum"]):
        raise _wrong(where, value, f"none of {', '.join(map(repr, schema['enum']))}")
    if isinstance(value, str):
        _check_text(value, schema, where)
    elif isinstance(value, list):
        _check_list(value, schema, where)
    elif isinstance(value, dict):
        _check_object(value, schema, where)
    elif _is_number(value):
        _check_number(value, schema, where)


def _check_any(value: object, choices: list[Schema], where: str) -> None:
    """One of several schemas; the failure told is that of the one that came farthest."""
    failures = []
    for choice in choices:
        try:
            return check(value, choice, where)
        except Failure as failure:
            failures.append(failure)
    raise max(failures, key=lambda failure: len(failure.message.partition(" is ")[0]))


def _check_text(value: str, schema: Schema, where: str) -> None:
    if len(value) > schema.get("maxLength", len(value)):
        raise _wrong(where, value, f"longer than {schema['maxLength']:,} characters")
    if len(value) < schema.get("minLength", 0):
        raise _wrong(where, value, f"shorter than {schema['minLength']} characters")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise _wrong(where, value, f"not of the form {schema['pattern']}")


def _check_list(value: list[Any], schema: Schema, where: str) -> None:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        low, high = schema.get("minItems", 0), schema.get("maxItems", "more")
        raise bad_request(f"{where} has {len(value)} items", f"give {low} to {high}")
    if "items" in schema:
        for index, item in enumerate(value):
            check(item, schema["items"], f"{where}[{index}]")


def _check_object(value: dict[str, Any], schema: Schema, where: str) -> None:
    known = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in value:
            raise bad_request(f"{where} lacks {key!r}", f"known keys: {', '.join(known)}")
    for key, item in value.items():
        if key in known:
            check(item, known[key], f"{where}: {key}")
        elif schema.get("additionalProperties") is False:
            raise bad_request(
                f"{where} has the unknown key {shown(key)}", f"known keys: {', '.join(known)}"
            )


def _check_number(value: Any, schema: Schema, where: str) -> None:
    if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        low, high = schema.get("minimum", "any"), schema.get("maximum", "any")
        raise bad_request(f"{where} is {shown(value)}", f"give a number from {low} to {high}")


def _in(value: object, choices: list[object]) -> bool:
    """Membership as JSON has it, where true is not 1."""
    return any(value == choice and type(value) is type(choice) for choice in choices)


def _listed(kinds: str | list[str]) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def _wrong(where: str, value: object, why: str) -> Failure:
    return bad_request(f"{where} is {shown(value)}, {why}", "see /openapi.json")
