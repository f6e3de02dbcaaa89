"""The OpenAPI document, made of the schemas that requests are checked against."""

from __future__ import annotations

from typing import Any

from edgecritic.server.schema import chatting, judging, ranking
from edgecritic.server.schema.judging import obj
from edgecritic.version import installed_version

Schema = dict[str, Any]

_SCHEMAS: dict[str, Schema] = {
    "ScoreRequest": judging.SCORE,
    "CompareRequest": judging.COMPARE,
    "RankRequest": judging.RANK,
    "BatchRequest": judging.BATCH,
    "Verdict": judging.VERDICT,
    "Preference": judging.PREFERENCE,
    "Ranking": judging.RANKING,
    "BatchResult": judging.RESULTS,
    "ChatRequest": chatting.CHAT,
    "ChatAnswer": chatting.CHAT_ANSWER,
    "CompletionRequest": chatting.COMPLETION,
    "CompletionAnswer": chatting.COMPLETION_ANSWER,
    "ScoresRequest": ranking.SCORE,
    "Scores": ranking.SCORES,
    "RerankRequest": ranking.RERANK,
    "Reranked": ranking.RERANKED,
    "Error": judging.ERROR,
}
_TEXT = {"type": "string"}
_MODEL = obj(
    {
        "id": _TEXT,
        "object": {"enum": ["model"]},
        "created": {"type": "integer"},
        "owned_by": _TEXT,
        "edgecritic": obj(
            {
                "name": _TEXT,
                "quant": _TEXT,
                "rubric": obj({"low": {"type": "integer"}, "high": {"type": "integer"}}),
                "good_for": {"type": "array", "items": _TEXT},
                "bad_for": {"type": "array", "items": _TEXT},
                "loaded": {"type": "boolean"},
            }
        ),
    },
    ("id", "object", "created", "owned_by", "edgecritic"),
)
_MODELS = obj(
    {"object": {"enum": ["list"]}, "data": {"type": "array", "items": _MODEL}}, ("object", "data")
)
_STATES = {"enum": ["unloaded", "loading", "ready", "failed"]}
_HEALTH = obj(
    {
        "status": {"enum": ["ok"]},
        "version": _TEXT,
        "models": {"type": "array", "items": obj({"id": _TEXT, "state": _STATES})},
        "queue": obj({"waiting": {"type": "integer"}, "limit": {"type": "integer"}}),
    },
    ("status", "version", "models", "queue"),
)
_REFUSALS = {
    "401": "A token is needed.",
    "403": "The Host or Origin header is not one of ours.",
}
_FAILURES = {
    "400": "The request cannot be answered as it is.",
    "404": "There is no such model.",
    "408": "The body came too slowly.",
    "413": "The body is too large.",
    "415": "The body is not called JSON.",
    "429": "The queue is full; see Retry-After.",
    "500": "The judgement failed in a way that was not foreseen.",
    "502": "The process that holds the model crashed; it is started anew.",
    "503": "The model cannot be loaded, its engine has failed, or the server is about to stop.",
    "504": "The judgement took longer than the time limit.",
}


def openapi(model: str) -> Schema:
    """The document.

    Args:
        model: id of the default model, for the description.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edgecritic",
            "version": installed_version(),
            "description": f"Judges answers about pictures. The default model is {model}.",
        },
        "paths": {
            "/v1/judge/score": _post("Score one response", "ScoreRequest", "Verdict", True),
            "/v1/judge/compare": _post("Compare two", "CompareRequest", "Preference", True),
            "/v1/judge/rank": _post("Rank several", "RankRequest", "Ranking"),
            "/v1/judge/batch": _post("Several judgements", "BatchRequest", "BatchResult"),
            "/v1/chat/completions": _post("Chat", "ChatRequest", "ChatAnswer", True),
            "/v1/completions": _post("Complete", "CompletionRequest", "CompletionAnswer"),
            "/v1/score": _post("Score many texts", "ScoresRequest", "Scores"),
            "/v1/rerank": _post("Sort documents", "RerankRequest", "Reranked"),
            "/v1/models": _get("The models on offer", _MODELS),
            "/v1/models/{id}": _get("One model", _MODEL, named=True),
            "/health": _get("How the server does", _HEALTH),
            "/metrics": _get("Counters", _TEXT, "text/plain"),
            "/openapi.json": _get("This document", {"type": "object"}),
        },
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _post(summary: str, asked: str, answered: str, streams: bool = False) -> Schema:
    content: Schema = {"application/json": {"schema": _named(answered)}}
    if streams:
        content["text/event-stream"] = {"schema": {"description": "Server-sent events."}}
    return {
        "post": {
            "summary": summary,
            "security": [{}, {"token": []}],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _named(asked)}},
            },
            "responses": {
                "200": {"description": "Done.", "content": content},
                **_errors(_REFUSALS | _FAILURES),
            },
        }
    }


def _get(
    summary: str, schema: Schema, kind: str = "application/json", named: bool = False
) -> Schema:
    place = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
    return {
        "get": {
            "summary": summary,
            "security": [{}, {"token": []}],
            **({"parameters": [place]} if named else {}),
            "responses": {
                "200": {"description": "Done.", "content": {kind: {"schema": schema}}},
                **_errors(_REFUSALS | ({"404": _FAILURES["404"]} if named else {})),
            },
        }
    }


def _errors(described: dict[str, str]) -> Schema:
    content = {"application/json": {"schema": _named("Error")}}
    return {status: {"description": text, "content": content} for status, text in described.items()}


def _named(schema: str) -> Schema:
    return {"$ref": f"#/components/schemas/{schema}"}
