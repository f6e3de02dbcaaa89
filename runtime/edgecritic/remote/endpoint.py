"""One chat endpoint: what it accepts is learned from what it refuses."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TypeVar

from edgecritic.judging.generation import PieceBuffer
from edgecritic.remote.calls import Line
from edgecritic.remote.client import Client
from edgecritic.remote.events import JsonObject
from edgecritic.remote.failures import Refused
from edgecritic.remote.options import Prefill
from edgecritic.remote.reply import Reply, read_piece, read_reply, read_usage
from edgecritic.verdict import Usage

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

# OpenAI's and vLLM's limit, and that of smaller services; then none at all.
_FEWER_LOGPROBS = {20: 5, 5: 0}
# What vLLM, SGLang and TGI want to hear before they continue the last message. llama.cpp's server
# and others do so unasked.
_CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
# Parts of a request that a judgement can do without.
_COURTESIES = ("stream_options", "seed", "stop", "temperature", *_CONTINUE)
_KNOWN: Mapping[Prefill, bool | None] = {"auto": None, "always": True, "never": False}


@dataclass(frozen=True, slots=True)
class Question:
    """What an endpoint is asked.

    Attributes:
        messages: of the chat.
        max_tokens: most tokens of the answer.
        begun: what the answer begins with; empty where that is the model's business.
        log_probs: ask for the tokens' log-probabilities.
        temperature: 0 for the most probable answer.
        seed: of the draws above 0.
        stops: texts that end the answer.
    """

    messages: Sequence[JsonObject]
    max_tokens: int
    begun: str = ""
    log_probs: bool = False
    temperature: float = 0.0
    seed: int | None = None
    stops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Accepted:
    """What the endpoint has not refused so far.

    Attributes:
        top_logprobs: tokens that are listed at each place; 0 for no log-probabilities.
        limit: its name for the most tokens.
        dropped: courtesies that it refuses.
    """

    top_logprobs: int = 20
    limit: str = "max_tokens"
    dropped: frozenset[str] = frozenset()

    def body(self, model: str, question: Question, *, stream: bool) -> JsonObject:
        """The request's JSON."""
        messages = list(question.messages)
        body: JsonObject = {
            "model": model,
            "messages": messages,
            self.limit: question.max_tokens,
            "temperature": question.temperature,
        }
        if question.begun:
            messages.append({"role": "assistant", "content": question.begun})
            body |= _CONTINUE
        if question.log_probs and self.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        if question.seed is not None:
            body["seed"] = question.seed
        if question.stops:
            body["stop"] = list(question.stops)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return {name: value for name, value in body.items() if name not in self.dropped}

    def without(self, refused: str, body: JsonObject) -> _Accepted | None:
        """What to try after a refusal; None if it names nothing that could be left out."""
        if "max_completion_tokens" in refused and self.limit in body and self.limit == "max_tokens":
            return replace(self, limit="max_completion_tokens")
        if "logprobs" in refused and "logprobs" in body:
            return replace(self, top_logprobs=_FEWER_LOGPROBS[self.top_logprobs])
        for name in _COURTESIES:
            if name in body and re.search(rf"\b{name}\b", refused):
                return replace(self, dropped=self.dropped | {name})
        return None


class Endpoint:
    """Asks one model. Safe to use from several threads; everything blocks, in a `Call`.

    Args:
        client: reaches it.
        model: its name there.
        prefill: see `RemoteOptions`.
    """

    def __init__(self, client: Client, model: str, prefill: Prefill) -> None:
        self._client = client
        self._model = model
        self._accepted = _Accepted()
        self._continues = _KNOWN[prefill]
        self._probing = Lock()

    def ask(self, question: Question, line: Line) -> Reply:
        """The whole answer.

        Raises:
            BackendUnavailableError: there is none.
            ContextOverflowError: the request is too long for the model.
            Cut: nobody waits any more.
        """
        where = self._client.address.name
        return self._accommodated(
            question, lambda body: read_reply(self._client.post(body, line), where), stream=False
        )

    def tell(self, question: Question, line: Line) -> Usage:
        """Say the answer on the line while it is generated, without white space at its ends.

        Returns:
            What it cost.

        Raises:
            BackendUnavailableError: nothing came at all.
            ContextOverflowError: as `ask`.
            Cut: nobody waits any more.
        """
        told = PieceBuffer(question.stops)
        usage = Usage()

        def take(event: JsonObject) -> None:
            nonlocal usage
            usage = read_usage(event) if event.get("usage") else usage
            if not told.stopped and (piece := told.feed(read_piece(event).encode())):
                line.say(piece)

        self._accommodated(
            question, lambda body: self._client.stream(body, line, take), stream=True
        )
        if not told.stopped and (rest := told.finish()):
            line.say(rest)
        return usage

    def continues(self, line: Line) -> bool:
        """Whether the beginning of an answer can be given; found out at the first call.

        A chat that ends with one letter of the assistant's is longer than without by one
        token if the endpoint continues it. If not, its turn is closed and another one opened,
        which takes more tokens. The longer one is sent first: an endpoint that does not count
        what it has in its cache then seems to need more for it.

        Raises:
            BackendUnavailableError: as `ask`.
            Cut: nobody waits any more.
        """
        with self._probing:
            if self._continues is None:
                self._continues = self._probe(line)
                logger.info(
                    "%s %s the beginning of an answer",
                    self._client.address.name,
                    "continues" if self._continues else "does not continue",
                )
            return self._continues

    def _probe(self, line: Line) -> bool:
        chat = [{"role": "user", "content": "Say A."}]
        try:
            begun = self.ask(Question(chat, 1, begun="A"), line).prompt_tokens
        except Refused:
            return False
        plain = self.ask(Question(chat, 1), line).prompt_tokens
        return begun is not None and plain is not None and begun - plain <= 1

    def _accommodated(
        self, question: Question, send: Callable[[JsonObject], Result], *, stream: bool
    ) -> Result:
        """Send, leaving out what the endpoint refuses, until it takes the request or refuses all.

        Each refusal leaves out one part more, so this ends.
        """
        accepted = self._accepted
        while True:
            body = accepted.body(self._model, question, stream=stream)
            try:
                result = send(body)
            except Refused as refusal:
                fewer = accepted.without(refusal.said, body)
                if fewer is None:
                    raise
                logger.info("%s; trying without", refusal.message)
                accepted = fewer
            else:
                self._accepted = accepted
                return result
