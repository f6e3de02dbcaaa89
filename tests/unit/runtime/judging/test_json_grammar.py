"""Whatever a grammar of a schema lets through is JSON that the schema allows."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.errors import InputError
from edgecritic.judging.grammar import State, begin
from edgecritic.judging.json_grammar import json_grammar
from edgecritic.judging.json_parts import json_object
from edgecritic.server.schema.check import check

SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}},
    {
        "type": "object",
        "properties": {"a": {"enum": ["x", "xy", 1, None]}, "b": {"const": {"c": [1]}}},
        "required": ["b"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3},
    {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "string"}]}},
    {"type": "integer", "minimum": -3, "maximum": 12},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "minimum": 0},
    {"type": "integer", "minimum": 1},
    {"type": ["boolean", "null", "string"]},
    {"type": "string", "minLength": 2, "maxLength": 5},
    {
        "$defs": {"inner": {"type": "object", "properties": {"z": {"type": "boolean"}}}},
        "type": "object",
        "properties": {"list": {"type": "array", "items": {"$ref": "#/$defs/inner"}}},
        "required": ["list"],
    },
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "object"},
    {},
]


def drawn(state: State, rng: random.Random, most: int) -> bytes:
    """A random text, completed when it gets long."""
    text = b""
    for _ in range(most):
        if not state.following:
            break
        byte = rng.choice(sorted(state.following))
        following = state.step(byte)
        assert following is not None
        text, state = text + bytes([byte]), following
    completed = state.read(state.closing)
    assert completed is not None
    assert completed.complete
    return text + state.closing


@given(st.integers(0, len(SCHEMAS) - 1), st.integers(0, 2**32), st.integers(0, 80))
def test_every_text_of_a_grammar_is_what_the_schema_allows(
    number: int, seed: int, most: int
) -> None:
    schema = SCHEMAS[number]
    text = drawn(begin(json_grammar(schema)), random.Random(seed), most)
    value = json.loads(text)
    if "$defs" not in schema and "const" not in str(schema):
        check(value, schema)


def test_an_object_that_no_schema_bounds_ends() -> None:
    state = begin(json_object()).read(b'{"a": 1' + b', "a": 1' * 31)
    assert state is not None
    assert state.read(b"}") is not None
    assert state.read(b",") is None


@given(st.integers(0, 2**32), st.integers(0, 80))
def test_any_object_is_an_object_with_something_in_it(seed: int, most: int) -> None:
    value = json.loads(drawn(begin(json_object()), random.Random(seed), most))
    assert isinstance(value, dict)
    assert value


@pytest.mark.parametrize(
    ("schema", "text", "allowed"),
    [
        ({"type": "integer", "minimum": 0, "maximum": 10}, "10", True),
        ({"type": "integer", "minimum": 0, "maximum": 10}, "11", False),
        ({"type": "number", "minimum": 0, "maximum": 1}, "0.25", True),
        ({"type": "number", "minimum": 0, "maximum": 1}, "1.5", False),
        ({"type": "string"}, '"é\\n\\u00e9"', True),
        ({"type": "string"}, '"\n"', False),
        ({"type": "string"}, '"\\ud800"', False),
        ({"enum": ["yes", "no"]}, '"no"', True),
        ({"enum": ["yes", 1, True], "type": "string"}, "1", False),
        ({"enum": [1, 1.5, True], "type": "integer"}, "1", True),
        ({"enum": [1, 1.5, True], "type": "integer"}, "1.5", False),
        ({"const": "a", "enum": ["a"], "type": "string"}, '"a"', True),
        ({"type": "object", "anyOf": [{"type": "object"}]}, "{}", True),
        ({"type": "array", "items": {"type": "null"}}, "[null, null]", True),
        ({"type": "array", "items": {"type": "null"}}, "[null, 1]", False),
    ],
)
def test_single_texts(schema: dict[str, Any], text: str, allowed: bool) -> None:
    state = begin(json_grammar(schema)).read(text.encode())
    assert (state is not None and state.complete) is allowed


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a+"},
        {"type": "string", "format": "date"},
        {"not": {"type": "string"}},
        {"type": "object", "properties": {}, "required": ["a"]},
        {"type": "spoon"},
        {"$ref": "#/$defs/none"},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"$ref": "https://example.org/schema"},
        {"enum": []},
        {"allOf": [{"type": "string"}, {"type": "null"}]},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "number", "minimum": 0.5},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "array", "items": 5},
        {"type": []},
        {"type": {}},
        {"type": [["string"]]},
        {"const": "a", "enum": ["b"]},
        {"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a", "maxLength": 5},
        {"type": "object", "properties": {"a": {}}, "anyOf": [{"type": "object"}]},
        {"type": "string", "anyOf": [{"type": "string"}, {"type": "null"}]},
        {"type": "integer", "anyOf": [{"type": "number"}]},
        {"type": "object", "properties": {"a": {}}, "required": [{}]},
        "schema",
    ],
)
def test_what_cannot_be_followed_is_refused(schema: object) -> None:
    with pytest.raises(InputError):
        json_grammar(schema)


def chain(n: int, *names: str, **more: Any) -> dict[str, Any]:
    """Schemas that each refer to the next one, under each of the names."""
    made = {
        f"d{k}": {
            "type": "object",
            "properties": {name: {"$ref": f"#/$defs/d{k + 1}"} for name in names},
            **more,
        }
        for k in range(n)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**made, f"d{n}": {"type": "string"}}}


NEST = {"type": "array", "minItems": 1000}


@pytest.mark.parametrize(
    "schema",
    [
        chain(40, "a", "b", required=["a", "b"]),  # its shortest text has 2**40 strings
        chain(400, "a"),
        {"type": "string", "minLength": 10**17},
        {**NEST, "items": {**NEST, "items": {**NEST, "items": {"type": "string"}}}},
        {"enum": ["x" * 1000 + str(k) for k in range(1024)]},
        {"const": "x" * 10**6},
        {"anyOf": [{"anyOf": [{"anyOf": [{"type": "string"}] * 100}] * 100}] * 100},
        {"anyOf": [{"type": "integer", "minimum": 0, "maximum": k} for k in range(1000)]},
        {"type": "object", "properties": {"k" * 10**5: {}}},
    ],
    ids=range(9),
)
def test_schemas_that_would_take_all_memory_are_refused(schema: object) -> None:
    with pytest.raises(InputError):
        json_grammar(schema)


def test_what_is_referred_to_often_is_made_once() -> None:
    # Two to the power of thirty places, and thirty parts.
    state = begin(json_grammar(chain(30, "a", "b")))
    assert state.closing == b"{}"
    assert state.read(b'{"a": {"a": {"a": {}}, "b": {') is not None


def test_a_long_constant_is_followed_to_its_end() -> None:
    text = json.dumps("x" * 4000)
    state = begin(json_grammar({"const": json.loads(text)})).read(text.encode())
    assert state is not None
    assert state.complete
