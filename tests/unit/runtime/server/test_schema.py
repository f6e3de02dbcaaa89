"""The published schemas are those of what is really asked and answered."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.server.failures import Failure
from edgecritic.server.schema import judging
from edgecritic.server.schema.check import check
from edgecritic.server.schema.openapi import openapi
from edgecritic.verdict import Preference, Ranking, Verdict
from serving import Running


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (Verdict, judging.VERDICT),
        (Preference, judging.PREFERENCE),
        (Ranking, judging.RANKING),
    ],
)
def test_every_field_of_a_judgement_is_published(kind: Any, schema: Any) -> None:
    assert [field.name for field in fields(kind)] == list(schema["properties"])


def test_the_document_is_what_is_served(server: Running) -> None:
    served = server.get("/openapi.json").json
    assert served == openapi("scripted")
    assert served["openapi"] == "3.1.0"
    for schema in served["components"]["schemas"].values():
        jsonschema_rs.validator_for({**schema, "components": served["components"]})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 12) | st.floats(-2, 12) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=6,
)
SCHEMAS: list[Any] = [
    {"type": "integer", "minimum": 0, "maximum": 10},
    {"type": ["number", "null"], "minimum": 1},
    {"enum": ["a", 1, True, None]},
    {"type": "string", "minLength": 1, "maxLength": 3},
    {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
    {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "string"}}]},
    {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "number"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    {"type": "object", "properties": {"a": {"type": "boolean"}}, "additionalProperties": True},
]


@given(st.sampled_from(SCHEMAS), VALUES)
def test_our_checks_agree_with_those_of_a_whole_validator(schema: Any, value: Any) -> None:
    try:
        check(value, schema)
    except Failure:
        ours = False
    else:
        ours = True
    assert ours == jsonschema_rs.is_valid(schema, value)
