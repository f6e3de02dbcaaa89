"""Answers in OpenAI's form, whole and as chunks of a stream."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

# Clients that parse JSON take "length" for JSON that is cut off, which a closed form is not.
_FINISH = {"end": "stop", "closed": "stop", "limit": "length", "cancelled": "stop"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What all chunks of one answer have in common.

    Attributes:
        model: id of the model that answers.
        tool: name of the tool that the answer calls, or None.
        logprobs: log-probabilities were asked for.
        id: of the answer.
        created: seconds since 1970.
    """

    model: str
    tool: str | None = None
    logprobs: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, result: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request that is not streamed.

        Args:
            result: of a `ChatJob`, or what a kit's verdict was written to.
        """
        choices = [
            {
                "index": index,
                "message": self._message(answer),
                "finish_reason": self._finish(answer["ended"]),
                "logprobs": {"content": answer["tokens"]} if self.logprobs else None,
                **_stopped(answer["ended"]),
            }
            for index, answer in enumerate(result["answers"])
        ]
        return self._head("chat.completion") | {"choices": choices, "usage": usage(result["usage"])}

    def _message(self, answer: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer["text"]}
        if self.tool is not None:
            call = {"name": self.tool, "arguments": answer["text"]}
            calls = [{"id": f"call-{secrets.token_hex(8)}", "type": "function", "function": call}]
            message |= {"content": None, "tool_calls": calls}
        if answer.get("reasoning"):
            message["reasoning_content"] = answer["reasoning"]
        return message

    def _finish(self, ended: str) -> str:
        finish = _FINISH[ended]
        return "tool_calls" if self.tool is not None and finish == "stop" else finish

    def first(self, index: int) -> bytes:
        """The chunk that says who speaks."""
        delta: dict[str, Any] = {"role": "assistant", "content": "" if self.tool is None else None}
        if self.tool is not None:
            call = {"name": self.tool, "arguments": ""}
            name = f"call-{secrets.token_hex(8)}"
            delta["tool_calls"] = [{"index": 0, "id": name, "type": "function", "function": call}]
        return self._chunk(index, delta)

    def piece(self, index: int, text: str, tokens: list[Any], reasoning: str = "") -> bytes:
        """A chunk of text."""
        delta: dict[str, Any] = {"content": text}
        if self.tool is not None:
            delta = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
        if reasoning:
            delta = {"reasoning_content": reasoning}
        return self._chunk(index, delta, tokens)

    def last(self, index: int, ended: str) -> bytes:
        """The chunk that says that an answer has ended."""
        return self._chunk(index, {}, ended=ended)

    def closing(self, costs: dict[str, int] | None) -> bytes:
        """The end of the stream, behind the usage if it was asked for."""
        said = b""
        if costs is not None:
            head = self._head("chat.completion.chunk")
            said = _data(head | {"choices": [], "usage": usage(costs)})
        return said + b"data: [DONE]\n\n"

    def _chunk(
        self, index: int, delta: dict[str, Any], tokens: list[Any] | None = None, ended: str = ""
    ) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "finish_reason": self._finish(ended) if ended else None,
            "logprobs": {"content": tokens or []} if self.logprobs else None,
            **_stopped(ended),
        }
        return _data(self._head("chat.completion.chunk") | {"choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def usage(costs: dict[str, int]) -> dict[str, int]:
    """Costs in OpenAI's names."""
    prompt, written = costs.get("prompt_tokens", 0), costs.get("written_tokens", 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
    }


def completion(model: str, result: dict[str, Any]) -> dict[str, Any]:
    """The answer of ``/v1/completions``."""
    choices = [
        {
            "index": index,
            "text": answer["text"],
            "finish_reason": _FINISH[answer["ended"]],
            "logprobs": None,
        }
        for index, answer in enumerate(result["answers"])
    ]
    return {
        "id": f"cmpl-{secrets.token_hex(12)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
        "choices": choices,
        "usage": usage(result["usage"]),
    }


def _stopped(ended: str) -> dict[str, str]:
    """VLLM's key for what has ended an answer before its own end."""
    return {"stop_reason": "max_tokens"} if ended == "closed" else {}


def _data(value: object) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()
