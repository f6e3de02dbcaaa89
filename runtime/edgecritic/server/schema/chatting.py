"""Requests of the OpenAI-compatible API, and what it answers.

Unlike our own, these are open: clients send keys that concern other servers. Those that would
change the answer and are not supported are refused by name in ``chat_request.py``.
"""

from __future__ import annotations

from typing import Any, Final

from edgecritic.server.options import Limits
from edgecritic.server.schema.judging import nullable, text

Schema = dict[str, Any]
_LIMITS: Final = Limits()
MOST_MESSAGES: Final = 256
MOST_ANSWERS: Final = 16
_PENALTY = {"type": "number", "minimum": -2, "maximum": 2}


def open_object(properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    """An object with at least these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": True,
    }


_URL = {"type": "string", "description": "A data URL; http(s) only if its host was allowed."}
_PART = open_object(
    {
        "type": {"enum": ["text", "input_text", "output_text", "image_url", "input_image"]},
        "text": text("What is said."),
        "image_url": {
            "description": "The picture; some clients send the URL itself.",
            "anyOf": [_URL, open_object({"url": _URL}, ("url",))],
        },
    },
    ("type",),
)
_MESSAGE = open_object(
    {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]},
        "content": {
            "anyOf": [
                text("What is said."),
                {"type": "array", "items": _PART, "maxItems": 256},
                {"type": "null"},
            ]
        },
    },
    ("role",),
)
_SAMPLING: Schema = {
    "model": nullable({"type": "string", "description": "Unknown names mean the default model."}),
    "max_tokens": nullable({"type": "integer", "minimum": 1}),
    "temperature": nullable({"type": "number", "minimum": 0, "maximum": 10}),
    "top_p": nullable({"type": "number", "minimum": 0, "maximum": 1}),
    "n": nullable({"type": "integer", "minimum": 1, "maximum": MOST_ANSWERS}),
    "stop": {
        "anyOf": [
            {"type": "null"},
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "maxItems": 16},
        ]
    },
    "seed": nullable({"type": "integer"}),
    "presence_penalty": nullable(_PENALTY),
    "frequency_penalty": nullable(_PENALTY),
    "stream": nullable({"type": "boolean"}),
    "stream_options": nullable(open_object({"include_usage": {"type": "boolean"}})),
}
CHAT: Final = open_object(
    {
        "messages": {
            "type": "array",
            "items": _MESSAGE,
            "minItems": 1,
            "maxItems": MOST_MESSAGES,
        },
        **_SAMPLING,
        "max_completion_tokens": nullable({"type": "integer", "minimum": 1}),
        "logprobs": nullable({"type": "boolean"}),
        "top_logprobs": nullable({"type": "integer", "minimum": 0, "maximum": 20}),
        "response_format": nullable(
            open_object(
                {
                    "type": {"enum": ["text", "json_object", "json_schema"]},
                    "json_schema": open_object({"schema": {"type": "object"}}, ("schema",)),
                },
                ("type",),
            )
        ),
        "tools": nullable({"type": "array", "items": {"type": "object"}, "maxItems": 64}),
        "tool_choice": {
            "anyOf": [
                {"type": "null"},
                {"enum": ["none", "auto", "required"]},
                open_object({"function": open_object({"name": {"type": "string"}}, ("name",))}),
            ]
        },
        "add_generation_prompt": nullable({"type": "boolean"}),
        "continue_final_message": nullable({"type": "boolean"}),
    },
    ("messages",),
)
COMPLETION: Final = open_object(
    {
        "prompt": {
            "anyOf": [
                text("What is to be continued."),
                {"type": "array", "items": text("The same."), "minItems": 1, "maxItems": 1},
            ]
        },
        **_SAMPLING,
    },
    ("prompt",),
)

_COUNT = {"type": "integer", "minimum": 0}
_USAGE = open_object(
    dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), _COUNT),
    ("prompt_tokens", "completion_tokens", "total_tokens"),
)
_LISTED = open_object(
    {
        "token": {"type": "string"},
        "logprob": {"type": "number"},
        "bytes": {"type": "array", "items": _COUNT},
    },
    ("token", "logprob"),
)
_HEAD: Schema = {
    "id": {"type": "string"},
    "created": _COUNT,
    "model": {"type": "string"},
    "usage": _USAGE,
}
_FINISH = {"enum": ["stop", "length", "tool_calls"]}
CHAT_ANSWER: Final = open_object(
    {
        **_HEAD,
        "object": {"enum": ["chat.completion"]},
        "choices": {
            "type": "array",
            "items": open_object(
                {
                    "index": _COUNT,
                    "message": open_object(
                        {
                            "role": {"enum": ["assistant"]},
                            "content": nullable({"type": "string"}),
                            "reasoning_content": {"type": "string"},
                            "tool_calls": {"type": "array", "items": {"type": "object"}},
                        },
                        ("role", "content"),
                    ),
                    "finish_reason": _FINISH,
                    "stop_reason": {
                        "enum": ["max_tokens"],
                        "description": "The answer keeps to its form, and was closed early for "
                        "want of tokens.",
                    },
                    "logprobs": nullable(
                        open_object({"content": {"type": "array", "items": _LISTED}})
                    ),
                },
                ("index", "message", "finish_reason"),
            ),
        },
    },
    ("id", "object", "created", "model", "choices", "usage"),
)
COMPLETION_ANSWER: Final = open_object(
    {
        **_HEAD,
        "object": {"enum": ["text_completion"]},
        "choices": {
            "type": "array",
            "items": open_object(
                {"index": _COUNT, "text": {"type": "string"}, "finish_reason": _FINISH},
                ("index", "text", "finish_reason"),
            ),
        },
    },
    ("id", "object", "created", "model", "choices", "usage"),
)
