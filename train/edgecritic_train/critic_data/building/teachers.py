"""Who judges: a critic here or behind an endpoint, or people whose verdicts want reasons."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from edgecritic.backends.base import CancelToken
from edgecritic.critic import Critic
from edgecritic.errors import InputError
from edgecritic.hashing import file_sha256
from edgecritic.judging.generation import Sampling
from edgecritic.prompts import Dialect
from edgecritic.remote import RemoteOptions
from edgecritic.remote.address import Address
from edgecritic.remote.asking import Asker
from edgecritic.remote.client import Client
from edgecritic.remote.endpoint import Endpoint
from edgecritic.remote.images import data_urls
from edgecritic.verdict import Usage, Winner
from edgecritic.vision import ImageLimits
from edgecritic_train.critic_data.building.plan import Ask
from edgecritic_train.critic_data.rows import ImageFile

Status: TypeAlias = Literal["ok", "unparsed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a teacher said.

    Attributes:
        status: ``unparsed`` where no verdict could be read, or no reason was given.
        verdict: of the ask, or None.
        reason: in words.
        confidence: of the verdict, in [0, 1], or None where the teacher gives none.
        prompt_tokens: read, over all requests.
        output_tokens: written.
        template: dialect, hash and wording of the prompt.
    """

    status: Status
    verdict: int | Winner | None
    reason: str
    confidence: float | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    template: str = ""


class Teacher(Protocol):
    """Answers asks, several at once if it says so."""

    @property
    def name(self) -> str:
        """Who it is, for rows."""
        ...

    @property
    def identity(self) -> str:
        """What its answers depend on beside the ask; part of the cache's keys."""
        ...

    @property
    def concurrent(self) -> bool:
        """Several threads may ask at once."""
        ...

    @property
    def requests(self) -> int:
        """Requests that one ask takes."""
        ...

    def answer(self, ask: Ask, cancel: CancelToken | None = None) -> Answer:
        """Judge, or explain where the verdict is known.

        Raises:
            InputError: this ask cannot be put (a picture, a text that is too long).
            BackendUnavailableError: no ask can be put at the moment.
        """
        ...

    def close(self) -> None:
        """Free what is held."""
        ...


def ask_key(ask: Ask, teacher: Teacher, pictures: PictureHashes) -> str:
    """Names an ask by all that its answer depends on.

    Raises:
        InputError: a picture cannot be read.
    """
    task = ask.task
    content = [
        teacher.identity,
        task.question,
        list(task.responses),
        task.reference,
        task.rubric.to_dict(),
        ask.wording,
        ask.verdict,
        [pictures.of(ref) for ref in ask.case.images],
    ]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


@dataclass(slots=True)
class PictureHashes:
    """Hashes of picture files, each computed once."""

    known: dict[Path, str] = field(default_factory=dict)

    def of(self, ref: object) -> str:
        """SHA-256 of a picture's file, hex.

        Raises:
            InputError: it cannot be read.
        """
        if not isinstance(ref, ImageFile):
            return hashlib.sha256(getattr(ref, "data", b"")).hexdigest()
        if ref.path not in self.known:
            try:
                self.known[ref.path] = file_sha256(ref.path)
            except OSError as error:
                raise InputError(
                    f"the image {ref.path} cannot be read: {error}", "check the path"
                ) from error
        return self.known[ref.path]


def _pictures(ask: Ask) -> list[Path | bytes]:
    return [ref.path if isinstance(ref, ImageFile) else ref.data for ref in ask.case.images]


@dataclass(frozen=True, slots=True)
class CriticTeacher:
    """A critic, local or remote, that judges and says why.

    Attributes:
        critic: is closed with the teacher.
        identity: see `Teacher`.
        max_tokens: of a reason.
        requests: see `Teacher`.
    """

    critic: Critic
    identity: str
    max_tokens: int = 256
    requests: int = 2

    @property
    def name(self) -> str:
        return self.critic.profile.name

    @property
    def concurrent(self) -> bool:
        return self.critic.info.name == "remote"

    def answer(self, ask: Ask, cancel: CancelToken | None = None) -> Answer:
        """See `Teacher`; the verdict is the teacher's own, in the order that it is asked in."""
        if ask.verdict is not None:
            raise InputError(
                "a critic judges for itself, and the verdict is known",
                "ask an endpoint for the reasons of known verdicts",
            )
        pictures, case = _pictures(ask), ask.case
        if len(ask.responses) == 1:
            scored = self.critic.score(
                pictures,
                case.question,
                ask.responses[0],
                reference=case.reference,
                rubric=ask.rubric,
                wording=ask.wording,
                cancel=cancel,
                max_rationale_tokens=self.max_tokens,
            )
            return _answer(scored.status, scored.level, scored)
        compared = self.critic.compare(
            pictures,
            case.question,
            ask.responses[0],
            ask.responses[1],
            orders="given",
            reference=case.reference,
            rubric=ask.rubric,
            wording=ask.wording,
            cancel=cancel,
            max_rationale_tokens=self.max_tokens,
        )
        return _answer(compared.status, compared.winner, compared)

    def close(self) -> None:
        self.critic.close()


class _Judged(Protocol):
    @property
    def rationale(self) -> str | None: ...
    @property
    def confidence(self) -> float | None: ...
    @property
    def usage(self) -> Usage: ...
    @property
    def template(self) -> str: ...


def _answer(status: Status, verdict: int | Winner | None, judged: _Judged) -> Answer:
    reason = (judged.rationale or "").strip()
    if status == "ok" and (verdict is None or not reason):
        status = "unparsed"
    return Answer(
        status,
        verdict,
        reason,
        judged.confidence,
        judged.usage.prompt_tokens,
        judged.usage.rationale_tokens,
        judged.template,
    )


class Explainer:
    """An endpoint that is told a verdict and says why.

    Args:
        url: of the API.
        model: its name there.
        dialect: of the prompts.
        options: how to reach it.
        max_tokens: of a reason.
    """

    requests = 1
    concurrent = True

    def __init__(
        self,
        url: str,
        model: str,
        dialect: Dialect,
        options: RemoteOptions,
        max_tokens: int = 256,
    ) -> None:
        address = Address.of(url, options)
        endpoint = Endpoint(Client(address, options), model, options.prefill)
        self._asker = Asker(endpoint, dialect, options)
        self._options = options
        self._max_tokens = max_tokens
        self.name = f"{model}@{address.place}"
        self.identity = f"explain {self.name} {dialect.identity} {max_tokens}"

    def answer(self, ask: Ask, cancel: CancelToken | None = None) -> Answer:
        """See `Teacher`."""
        if ask.verdict is None:
            raise InputError("there is no verdict to explain", "give scores or winners")
        urls = data_urls(_pictures(ask), ImageLimits(), self._options.longest_side, cancel)
        (asked,) = self._asker.lay([ask.task], urls, ask.wording, cancel)
        outcome = asked.prompt.outcomes.index(ask.verdict)
        pieces: list[str] = []
        steps = self._asker.explain(asked, outcome, Sampling(self._max_tokens), cancel)
        usage = _collected(steps, pieces)
        reason = "".join(pieces).strip()
        return Answer(
            "ok" if reason else "unparsed",
            ask.verdict,
            reason,
            None,
            usage.prompt_tokens,
            usage.rationale_tokens,
            asked.template,
        )

    def close(self) -> None:
        """Cut all requests that are under way."""
        self._asker.close()


def _collected(steps: Generator[str, None, Usage], pieces: list[str]) -> Usage:
    while True:
        try:
            pieces.append(next(steps))
        except StopIteration as end:
            usage: Usage = end.value
            return usage
