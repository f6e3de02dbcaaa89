"""Requests and responses of the native API."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from edgecritic.server.options import Limits
from edgecritic.task import MAX_TEXT_BYTES
from edgecritic.verdict import Timings, Usage

Schema = dict[str, Any]
_LIMITS: Final = Limits()
MOST_RESPONSES: Final = 8
MOST_IN_BATCH: Final = 64
LARGEST_SEED: Final = 2**53 - 1


def text(description: str) -> Schema:
    """A string that a critic may be able to read."""
    return {"type": "string", "maxLength": MAX_TEXT_BYTES, "description": description}


def obj(properties: Schema, required: tuple[str, ...] = (), **more: Any) -> Schema:
    """An object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def listed(items: Schema, low: int, high: int) -> Schema:
    """An array."""
    return {"type": "array", "items": items, "minItems": low, "maxItems": high}


PICTURE: Final = {
    "type": "string",
    "description": "A data URL (data:image/png;base64,...) or bare base64; a http(s) URL only if "
    "the operator has allowed its host.",
}
PICTURES: Final = {
    "description": "The picture or pictures that the question is about.",
    "anyOf": [{"type": "null"}, PICTURE, listed(PICTURE, 0, _LIMITS.images)],
}
_RUBRIC = {
    "description": "The scale: as 1-5, or as an object. The critic's own when left out.",
    "anyOf": [
        {"type": "null"},
        {"type": "string", "maxLength": 1 << 16},
        obj(
            {
                "low": {"type": "integer", "minimum": 0, "maximum": 999_999},
                "high": {"type": "integer", "minimum": 1, "maximum": 999_999},
                "criteria": nullable(text("What to look at.")),
                "levels": {
                    "type": "object",
                    "additionalProperties": True,
                    "description": "Level to what it means.",
                },
            }
        ),
    ],
}
_SHARED: Schema = {
    "image": PICTURES,
    "question": text("What was asked."),
    "reference": nullable(text("A right answer to compare with.")),
    "rubric": _RUBRIC,
    "wording": {
        "type": "integer",
        "minimum": 0,
        "maximum": 1_000_000,
        "description": "Which of the prompt's wordings; 0 when left out.",
    },
    "model": nullable({"type": "string", "description": "One of /v1/models."}),
}
_REASON: Schema = {
    "rationale": {"type": "boolean", "description": "Also say why; true when left out."},
    "max_rationale_tokens": {"type": "integer", "minimum": 0, "maximum": _LIMITS.tokens},
    "temperature": {
        "type": "number",
        "minimum": 0,
        "maximum": 10,
        "description": "Of the reason's words; the verdict is never sampled.",
    },
    "seed": {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED},
}
_STREAM: Schema = {
    "stream": {"type": "boolean", "description": "Answer with server-sent events."},
}
_SCORE: Schema = {**_SHARED, "response": text("What was answered."), **_REASON}
_COMPARE: Schema = {
    **_SHARED,
    "first": text("One response."),
    "second": text("The other one."),
    "orders": {"enum": ["both", "given", "swapped"]},
    **_REASON,
}
_RANK: Schema = {
    **_SHARED,
    "responses": listed(text("A response."), 2, MOST_RESPONSES),
    "method": {"enum": ["pairwise", "adaptive", "pointwise"]},
}

SCORE: Final = obj({**_SCORE, **_STREAM}, ("question", "response"))
COMPARE: Final = obj({**_COMPARE, **_STREAM}, ("question", "first", "second"))
RANK: Final = obj(_RANK, ("question", "responses"))
MEMBERS: Final = {
    "score": obj({"kind": {"enum": ["score"]}, **_SCORE}, ("kind", "question", "response")),
    "compare": obj(
        {"kind": {"enum": ["compare"]}, **_COMPARE}, ("kind", "question", "first", "second")
    ),
    "rank": obj({"kind": {"enum": ["rank"]}, **_RANK}, ("kind", "question", "responses")),
}
BATCH: Final = obj(
    {
        "requests": listed({"anyOf": list(MEMBERS.values())}, 1, MOST_IN_BATCH),
        "model": _SHARED["model"],
    },
    ("requests",),
)

_STATUS = {"enum": ["ok", "unparsed", "cancelled"]}
_NUMBER = {"type": "number"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_SHARES = {"type": "object", "additionalProperties": True, "description": "Sums to 1, or empty."}
_OUTCOME = {"enum": ["first", "second", "tie"]}
_COSTS: Schema = {
    "usage": obj({field.name: {"type": "integer", "minimum": 0} for field in fields(Usage)}),
    "timings": obj({field.name: _NUMBER for field in fields(Timings)}),
}
_SIGNED: Schema = {
    "rationale": nullable({"type": "string"}),
    **_COSTS,
    "critic": {"type": "string"},
    "template": {"type": "string"},
    "basis": {"enum": ["logits", "top_logprobs", "text"]},
    "detail": {"enum": ["full", "reduced"]},
    "within_noise": {
        "type": "boolean",
        "description": "The lead is smaller than what batches change in this critic's numbers.",
    },
}
_VERDICT: Schema = {
    "status": _STATUS,
    "score": nullable({**_NUMBER, "description": "Mean of the levels by probability."}),
    "level": nullable({"type": "integer", "description": "The most probable level."}),
    "probabilities": _SHARES,
    "confidence": nullable(_SHARE),
    "mass": {**_SHARE, "description": "What the levels hold of all probability."},
    **_SIGNED,
    "interval": nullable(
        {**listed(_NUMBER, 2, 2), "description": "Where a labelled score is to be expected."}
    ),
}
_ORDER: Schema = {
    "shown_first": {"enum": ["first", "second"]},
    "winner": _OUTCOME,
    "probabilities": _SHARES,
    "mass": _SHARE,
}
_PREFERENCE: Schema = {
    "status": _STATUS,
    "winner": nullable(_OUTCOME),
    "probabilities": _SHARES,
    "confidence": nullable(_SHARE),
    "consistent": nullable({"type": "boolean", "description": "Both orders agree."}),
    "orders": {"type": "array", "items": obj(_ORDER, tuple(_ORDER))},
    **_SIGNED,
}
VERDICT: Final = obj(_VERDICT, tuple(_VERDICT))
PREFERENCE: Final = obj(_PREFERENCE, tuple(_PREFERENCE))
_RANKING: Schema = {
    "status": _STATUS,
    "order": {"type": "array", "items": {"type": "integer"}, "description": "Best first."},
    "rewards": {"type": "array", "items": nullable(_NUMBER)},
    "preferences": {
        "type": "array",
        "items": {"type": "array", "description": "Two indices, and the preference of the one."},
    },
    "verdicts": {"type": "array", "items": VERDICT},
    **_COSTS,
    "judgements": {"type": "integer", "minimum": 0, "description": "Verdicts it rests on."},
    "confidence": nullable({**_SHARE, "description": "Adaptive: all pairs give this order."}),
    "cycles": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "integer"}},
        "description": "In each, every response beats the next one, and the last one the first.",
    },
}
RANKING: Final = obj(_RANKING, tuple(_RANKING))
ERROR: Final = obj(
    {
        "error": obj(
            {name: {"type": "string"} for name in ("message", "hint", "type", "code")},
            ("message", "hint", "type", "code"),
        )
    },
    ("error",),
)
RESULTS: Final = obj(
    {"results": {"type": "array", "items": {"anyOf": [VERDICT, PREFERENCE, RANKING, ERROR]}}},
    ("results",),
)
