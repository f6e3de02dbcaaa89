"""Requests and responses of ``/v1/score`` and ``/v1/rerank``."""

from __future__ import annotations

from typing import Any, Final

from edgecritic.server.schema.chatting import open_object
from edgecritic.server.schema.judging import MOST_IN_BATCH, PICTURES, listed, nullable, text

Schema = dict[str, Any]
_MODEL = nullable({"type": "string", "description": "Unknown names mean the default model."})
_TEXTS = {"anyOf": [text("A text."), listed(text("A text."), 1, MOST_IN_BATCH)]}
_COUNT = {"type": "integer", "minimum": 0}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_USAGE = open_object({"prompt_tokens": _COUNT, "total_tokens": _COUNT}, ("total_tokens",))

SCORE: Final = open_object(
    {"model": _MODEL, "text_1": _TEXTS, "text_2": _TEXTS, "image": PICTURES},
    ("text_1", "text_2"),
)
SCORES: Final = open_object(
    {
        "id": {"type": "string"},
        "object": {"enum": ["list"]},
        "created": _COUNT,
        "model": {"type": "string"},
        "data": {
            "type": "array",
            "items": open_object(
                {"index": _COUNT, "object": {"enum": ["score"]}, "score": nullable(_SHARE)},
                ("index", "object", "score"),
            ),
        },
        "usage": _USAGE,
    },
    ("object", "model", "data", "usage"),
)
_DOCUMENT = {"anyOf": [text("A text."), open_object({"text": text("A text.")}, ("text",))]}
RERANK: Final = open_object(
    {
        "model": _MODEL,
        "query": text("What was asked."),
        "documents": listed(_DOCUMENT, 1, MOST_IN_BATCH),
        "top_n": nullable({"type": "integer", "minimum": 1}),
        "return_documents": nullable({"type": "boolean"}),
        "image": PICTURES,
    },
    ("query", "documents"),
)
RERANKED: Final = open_object(
    {
        "id": {"type": "string"},
        "model": {"type": "string"},
        "results": {
            "type": "array",
            "items": open_object(
                {"index": _COUNT, "relevance_score": nullable(_SHARE)},
                ("index", "relevance_score"),
            ),
        },
        "usage": _USAGE,
    },
    ("model", "results", "usage"),
)
