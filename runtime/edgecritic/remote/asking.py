"""Prompts to readings of their verdicts, and verdicts to their reasons, through one endpoint."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import log
from threading import Lock, Semaphore
from typing import TypeVar
from weakref import WeakSet

from edgecritic.backends.base import CancelToken
from edgecritic.judging.generation import Sampling
from edgecritic.prompts import Dialect, Prompt, render
from edgecritic.remote.calls import Call, Line, gather
from edgecritic.remote.endpoint import Endpoint, Question
from edgecritic.remote.events import JsonObject
from edgecritic.remote.forms import Form
from edgecritic.remote.messages import asked_form, asked_reason, chat
from edgecritic.remote.options import RemoteOptions
from edgecritic.remote.reply import Reply
from edgecritic.remote.verdicts import Beginning, Reading, follow, read
from edgecritic.task import Task
from edgecritic.verdict import Usage

Result = TypeVar("Result")
# Behind a given lead-in the verdict follows at once; "7 out of 10" takes eight tokens at most.
_FORCED_TOKENS = 12
# A beginning with less than this is not worth a request: on a scale of 1 to 10, it could move the
# score by a thousandth.
_WORTH_A_LOOK = log(1e-4)
_MOST_LOOKS = 16
# How often a request that waits for its turn looks whether it was cut.
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as an endpoint is asked it.

    Attributes:
        prompt: rendered.
        form: of its answer.
        messages: of its chat.
        begun: what the answer begins with; empty where the endpoint cannot be given that.
    """

    prompt: Prompt
    form: Form
    messages: list[JsonObject]
    begun: str

    @property
    def template(self) -> str:
        """The prompt's; marked where words were added that ask for the form."""
        return self.prompt.template if self.begun else f"{self.prompt.template}+form"


class Asker:
    """Asks one endpoint in one dialect; several threads may at once.

    Args:
        endpoint: what to ask.
        dialect: of the prompts.
        options: how much to ask at once.
    """

    def __init__(self, endpoint: Endpoint, dialect: Dialect, options: RemoteOptions) -> None:
        self._endpoint = endpoint
        self._dialect = dialect
        self._options = options
        self._lock = Lock()
        self._lines: WeakSet[Line] = WeakSet()

    def close(self) -> None:
        """Cut all requests that are under way."""
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            line.cut()

    def lay(
        self, tasks: Sequence[Task], urls: Sequence[str], wording: int, cancel: CancelToken | None
    ) -> list[Asked]:
        """Render tasks in the way that the endpoint takes them.

        Args:
            tasks: what to ask.
            urls: of the pictures, which all tasks share.
            wording: which of the dialect's.
            cancel: stops finding out what the endpoint takes.

        Raises:
            InputError: a task cannot be rendered.
            Cancelled: `cancel` was set.
        """
        prompts = [render(task, self._dialect, wording) for task in tasks]
        continues = self._start(self._endpoint.continues).result(cancel)
        asked = []
        for task, prompt in zip(tasks, prompts, strict=True):
            form = Form.of(prompt, self._dialect, task.rubric)
            added = "" if continues else asked_form(prompt, self._dialect)
            messages = chat(prompt, self._dialect, urls, added)
            asked.append(Asked(prompt, form, messages, form.lead_in if continues else ""))
        return asked

    def read(
        self, asked: Sequence[Asked], cancel: CancelToken | None, permits: Semaphore | None = None
    ) -> tuple[list[Reading], Usage]:
        """Read all verdicts, with second looks where outcomes begin alike.

        Args:
            asked: what to read.
            cancel: stops it.
            permits: one is taken for each request that is under way; no further limit without.

        Raises:
            CriticError: the endpoint cannot be used.
            Cancelled: `cancel` was set.
        """
        longest = self._options.max_verdict_tokens
        questions = [
            Question(one.messages, _FORCED_TOKENS if one.begun else longest, one.begun, True)
            for one in asked
        ]
        replies = self._replies(questions, cancel, permits)
        readings = [
            read(reply, one.begun, one.form) for one, reply in zip(asked, replies, strict=True)
        ]
        usage = sum(map(_of_verdict, replies), Usage())
        looks = [0] * len(asked)
        while unclear := [
            (index, beginning)
            for index, reading in enumerate(readings)
            if asked[index].begun
            for beginning in _worth_a_look(reading, _MOST_LOOKS - looks[index])
        ]:
            questions = [
                Question(asked[index].messages, 1, beginning.text, log_probs=True)
                for index, beginning in unclear
            ]
            replies = self._replies(questions, cancel, permits)
            usage = sum(map(_of_verdict, replies), usage)
            for (index, beginning), reply in zip(unclear, replies, strict=True):
                looks[index] += 1
                found = follow(reply.tokens, beginning.text, asked[index].form, beginning.log_prob)
                readings[index] = readings[index].deepened(beginning, found)
        return [reading.settled() for reading in readings], usage

    def explain(
        self, asked: Asked, outcome: int, sampling: Sampling, cancel: CancelToken | None
    ) -> Generator[str, None, Usage]:
        """Have the stated answer explained; the pieces of the reason.

        Raises:
            CriticError: the endpoint cannot be used.
            Cancelled: `cancel` was set.
        """
        answer = asked.prompt.answers[outcome]
        question = Question(
            asked.messages,
            sampling.max_tokens,
            begun=answer,
            temperature=sampling.temperature,
            seed=sampling.seed if sampling.temperature > 0 else None,
            stops=("\n\n",),
        )
        if not asked.begun:
            stated = answer.removesuffix(self._dialect.answers[asked.prompt.setting].reason)
            messages = asked_reason(asked.messages, stated)
            question = replace(question, messages=messages, begun="", stops=())
        return (yield from self._start(partial(self._endpoint.tell, question)).steps(cancel))

    def _replies(
        self, questions: Sequence[Question], cancel: CancelToken | None, permits: Semaphore | None
    ) -> list[Reply]:
        def ask(question: Question, line: Line) -> Reply:
            while not limit.acquire(timeout=_LOOK_SECONDS):
                line.check()
            try:
                return self._endpoint.ask(question, line)
            finally:
                limit.release()

        limit = permits or Semaphore(self._options.parallel)
        works = [partial(ask, question) for question in questions]
        return gather(self._start, works, self._options.parallel, cancel)

    def _start(self, work: Callable[[Line], Result]) -> Call[Result]:
        call = Call(work)
        with self._lock:
            self._lines.add(call.line)
        return call


def _worth_a_look(reading: Reading, looks: int) -> list[Beginning]:
    """The likeliest beginnings, as many as looks are left."""
    likely = [b for b in reading.beginnings if b.log_prob >= _WORTH_A_LOOK]
    return sorted(likely, key=lambda beginning: -beginning.log_prob)[: max(0, looks)]


def _of_verdict(reply: Reply) -> Usage:
    """The few tokens that state a verdict count as decoded, not as a rationale."""
    usage = reply.usage
    decoded = usage.decoded_tokens + usage.rationale_tokens
    return replace(usage, decoded_tokens=decoded, rationale_tokens=0)
