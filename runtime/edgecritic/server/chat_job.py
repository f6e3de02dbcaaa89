"""Free text as a job for a worker."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgecritic.judging.choosing import Taste
from edgecritic.prompts.conversation import Turn
from edgecritic.server.jobs import JsonObject, Tell

if TYPE_CHECKING:
    from edgecritic.backends.base import CancelToken
    from edgecritic.critic import Critic
    from edgecritic.judging.grammar import Part
    from edgecritic.judging.writing import ChatPiece, Choice

# What OpenAI says of a token that is as good as impossible; JSON has no infinity.
_LEAST = -9999.0


@dataclass(frozen=True, slots=True)
class ChatJob:
    """Answer a conversation.

    Attributes:
        turns: the conversation.
        images: the encoded pictures that it shows.
        max_tokens: see `edgecritic.judging.writing.ChatOptions`, like what follows.
        taste: see there.
        stops: see there.
        n: see there.
        listed: see there.
        form: a JSON Schema that answers have to follow, True for any JSON object, or None.
        continued: see there.
    """

    turns: tuple[Turn, ...]
    images: tuple[bytes, ...] = ()
    max_tokens: int = 512
    taste: Taste = field(default_factory=Taste)
    stops: tuple[str, ...] = ()
    n: int = 1
    listed: int | None = None
    form: Any = None
    continued: bool = False
    kind: str = "chat"

    @property
    def weight(self) -> int:
        return self.n

    def run(self, critic: Critic, cancel: CancelToken, tell: Tell) -> JsonObject:
        """The answers, whole, and piece by piece as events ``text``."""
        from edgecritic.judging.writing import ChatOptions, ChatPiece

        options = ChatOptions(
            max_tokens=self.max_tokens,
            taste=self.taste,
            stops=self.stops,
            n=self.n,
            listed=self.listed,
            grammar=_grammar(self.form),
            continued=self.continued,
            cancel=cancel,
        )
        answers: list[JsonObject] = [
            {"text": "", "tokens": [], "ended": "cancelled"} for _ in range(self.n)
        ]
        usage: JsonObject = {}
        steps = critic.chat_stream(list(self.images) or None, self.turns, options)
        with closing(steps):
            for step in steps:
                if isinstance(step, ChatPiece):
                    _add(answers[step.answer], step, tell)
                else:
                    usage = {
                        "prompt_tokens": step.prompt_tokens,
                        "image_tokens": step.image_tokens,
                        "written_tokens": step.written_tokens,
                    }
        return {"answers": answers, "usage": usage}


def _grammar(form: Any) -> Part | None:
    from edgecritic.judging.json_grammar import json_grammar
    from edgecritic.judging.json_parts import json_object

    if form is None:
        return None
    return json_object() if form is True else json_grammar(form)


def _add(answer: JsonObject, piece: ChatPiece, tell: Tell) -> None:
    tokens = [_listed(choice) for choice in piece.tokens]
    answer["text"] += piece.text
    answer["tokens"] += tokens
    if piece.ended is not None:
        answer["ended"] = piece.ended
    if piece.text or tokens or piece.ended:
        said = {"answer": piece.answer, "text": piece.text, "tokens": tokens, "ended": piece.ended}
        tell("text", said)


def _listed(choice: Choice) -> JsonObject:
    others = [_token(text, log_prob) for text, log_prob in choice.others]
    return _token(choice.text, choice.log_prob) | {"top_logprobs": others}


def _token(text: bytes, log_prob: float) -> JsonObject:
    return {
        "token": text.decode(errors="replace"),
        "logprob": max(log_prob, _LEAST),
        "bytes": list(text),
    }
