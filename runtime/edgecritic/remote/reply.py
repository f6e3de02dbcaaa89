"""A chat endpoint's answers, in the shapes that real ones send them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgecritic.errors import BackendUnavailableError, shown
from edgecritic.remote.events import JsonObject
from edgecritic.verdict import Usage

# How tokenizers write a blank inside a token; some endpoints send that form.
_BLANKS = str.maketrans({"\u2581": " ", "\u0120": " ", "\u010a": "\n"})


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token.

    Attributes:
        text: of the token.
        log_probs: log-probability by text, of it and of the others that the endpoint listed.
    """

    text: str
    log_probs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer.

    Attributes:
        text: what the model says to the user; thoughts that the endpoint keeps apart are not in
            it.
        tokens: what the text was made of, with log-probabilities; empty where there are none.
        prompt_tokens: as the endpoint counts them; None where it does not.
        usage: the same for the judgement's report.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    prompt_tokens: int | None = None
    usage: Usage = field(default_factory=Usage)


def read_reply(answer: JsonObject, where: str) -> Reply:
    """The reply that a completion's JSON holds.

    Raises:
        BackendUnavailableError: it is no completion.
    """
    choice = _first_choice(answer)
    message = choice.get("message") if choice is not None else None
    if choice is None or not isinstance(message, Mapping):
        raise BackendUnavailableError(
            f"{where} answered with no chat completion: {shown(answer)}",
            "check the address: it is that of an OpenAI-compatible API",
        )
    usage = _mapping(answer.get("usage"))
    log_probs = _mapping(choice.get("logprobs")).get("content")
    return Reply(
        text=_text(message.get("content")),
        tokens=tuple(_tokens(log_probs)) if isinstance(log_probs, list) else (),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        usage=read_usage(answer),
    )


def read_piece(event: JsonObject) -> str:
    """The text that an event of a streamed completion adds; most often some characters."""
    choice = _first_choice(event)
    if choice is None:  # an event of the usage alone
        return ""
    delta = choice.get("delta") or choice.get("message")  # what does not stream sends a message
    return _text(_mapping(delta).get("content"))


def read_usage(answer: JsonObject) -> Usage:
    """What a completion, or one of its events, says it cost; zeros where it does not say."""
    usage = _mapping(answer.get("usage"))
    details = _mapping(usage.get("prompt_tokens_details"))
    prompt = _count(usage.get("prompt_tokens")) or 0
    return Usage(
        prompt_tokens=prompt,
        image_tokens=_count(details.get("image_tokens")) or 0,
        decoded_tokens=max(0, prompt - (_count(details.get("cached_tokens")) or 0)),
        rationale_tokens=_count(usage.get("completion_tokens")) or 0,
    )


def _first_choice(answer: JsonObject) -> Mapping[str, object] | None:
    choices = answer.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        return choices[0]
    return None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value


def _text(content: object) -> str:
    """Content is a string, a list of parts, or nothing."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (_mapping(part) for part in content)
        return "".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    return ""


def _tokens(content: Sequence[object]) -> list[Token]:
    """All tokens, or none: what lacks a number in its middle cannot be followed."""
    tokens = []
    for item in map(_mapping, content):
        others = item.get("top_logprobs")
        listed = [item, *map(_mapping, others if isinstance(others, list) else ())]
        log_probs: dict[str, float] = {}
        for one in listed:
            number = _log_prob(one.get("logprob"))
            if number is not None:
                text = _token_text(one)
                log_probs[text] = max(number, log_probs.get(text, -math.inf))
        text = _token_text(item)
        if text not in log_probs:
            return []
        tokens.append(Token(text, log_probs))
    return tokens


def _log_prob(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return min(float(value), 0.0)  # rounding may lift a sure token a little above


def _token_text(item: Mapping[str, object]) -> str:
    text = item.get("token")
    return text.translate(_BLANKS) if isinstance(text, str) else ""
