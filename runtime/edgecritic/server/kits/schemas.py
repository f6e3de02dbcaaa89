"""JSON schemas that a prompt describes instead of the request.

Some clients write the schema of the wanted JSON into the prompt, and set ``json_object`` or
nothing. It is followed as if it had been sent as ``response_format``.
"""

from __future__ import annotations

import json
from typing import Any, Final

from edgecritic.errors import InputError
from edgecritic.judging.json_grammar import json_grammar
from edgecritic.strict_json import decode

# Behind each, the schema follows. Sources: instructor's JSON mode, with which ragas asks;
# ragas 0.4, prompt/pydantic_prompt.py and prompt/metrics/base_prompt.py.
_ANNOUNCED: Final = (
    "in json that match the following json_schema:",
    "complies with the following schema as specified in JSON Schema:",
)
_MOST = 1 << 16


def schema_in(text: str) -> dict[str, Any] | None:
    """The schema that a prompt announces, if it is one that can be followed."""
    for phrase in _ANNOUNCED:
        if text.count(phrase) != 1:
            continue
        behind = text.partition(phrase)[2]
        start = behind.find("{")
        if start < 0:
            continue
        try:
            _, length = json.JSONDecoder().raw_decode(behind[start : start + _MOST])
            schema = decode(behind[start : start + length])
            json_grammar(schema)
        except (ValueError, RecursionError, InputError):
            continue
        if isinstance(schema, dict) and "properties" in schema:
            return schema
    return None
