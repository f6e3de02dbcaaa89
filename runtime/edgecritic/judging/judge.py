"""One judgement from picture to rationale; written once for both settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Generic, cast

from edgecritic.backends.base import Backend, Cancelled, CancelToken
from edgecritic.debias import OUTCOMES
from edgecritic.judging.base import SHOWN, Judged
from edgecritic.judging.demands import Steps, Write, reading, writing
from edgecritic.judging.generation import Generated, Writer
from edgecritic.judging.jobs import JudgementJob
from edgecritic.judging.layout import LaidPrompt, Layout
from edgecritic.judging.results import LogProbs, pointwise_verdict, preference
from edgecritic.judging.trie import units_of
from edgecritic.pictures import PictureEncoder
from edgecritic.profile import CriticProfile
from edgecritic.progress import Progress
from edgecritic.requests import CompareRequest, ScoreRequest
from edgecritic.task import Task
from edgecritic.verdict import Detail, Preference, Timings, Usage, Verdict


@dataclass(frozen=True, slots=True)
class _Case(Generic[Judged]):
    """What tells the two settings apart.

    Attributes:
        tasks: what to decode; the last ones may be there for the rationale alone.
        explained: the task whose answer the rationale continues, or None.
        conclude: from the tasks' joint log-probabilities to the judgement.
        outcome: index of the answer that states a judgement.
    """

    tasks: tuple[Task, ...]
    explained: int | None
    conclude: Callable[[Sequence[LogProbs]], Judged]
    outcome: Callable[[Judged], int]


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read, whichever of verdict and reason comes first in the dialect."""

    joints: tuple[LogProbs, ...] | None
    usage: Usage
    reason: str | None = None


class Judge:
    """Judges with an engine on this machine, whose work it leaves to whoever runs its steps.

    Args:
        backend: the engine.
        profile: the critic's.
        pictures: encodes what it is to look at.
    """

    def __init__(self, backend: Backend, profile: CriticProfile, pictures: PictureEncoder) -> None:
        self._backend = backend
        self._profile = profile
        self._pictures = pictures
        self._layout = Layout(backend, profile.dialect)

    def steps(self, job: JudgementJob, cancel: CancelToken) -> Steps[Verdict | Preference]:
        """See `Maker.steps`."""
        if isinstance(job.request, CompareRequest):
            return self._judge(job, self._comparison(job.request, job.task), cancel)
        return self._judge(job, self._score(job.request, job.task), cancel)

    def unjudged(self, job: JudgementJob) -> Verdict | Preference:
        """See `Maker.unjudged`."""
        return self._signed(job.unjudged(), self._profile.dialect.identity)

    def _score(self, request: ScoreRequest, task: Task) -> _Case[Verdict]:
        levels = task.rubric.range
        calibration = self._profile.calibration
        return _Case(
            tasks=(task,),
            explained=0 if request.rationale else None,
            conclude=lambda joints: pointwise_verdict(joints[0], levels, calibration),
            outcome=lambda verdict: levels.index(cast(int, verdict.level)),
        )

    def _comparison(self, request: CompareRequest, task: Task) -> _Case[Preference]:
        """The rationale always speaks of the responses in the given order."""
        shown = SHOWN[request.orders]
        tasks = {"first": task, "second": task.swapped()}
        decoded = list(shown)
        if request.rationale and "first" not in shown and not self._profile.dialect.reason_first:
            decoded.append("first")
        has_given = request.rationale and "first" in decoded
        calibration = self._profile.calibration
        return _Case(
            tasks=tuple(tasks[order] for order in decoded),
            explained=decoded.index("first") if has_given else None,
            conclude=lambda joints: preference(dict(zip(shown, joints, strict=False)), calibration),
            outcome=lambda found: OUTCOMES.index(found.winner or "tie"),
        )

    def _judge(self, job: JudgementJob, case: _Case[Judged], cancel: CancelToken) -> Steps[Judged]:
        template = self._profile.dialect.identity
        started = seen = perf_counter()
        read, laid = _Read(None, Usage()), list[LaidPrompt]()
        try:
            spans = self._pictures.spans(job.request.image, cancel, partial(_tell_tiles, job))
            seen = perf_counter()
            laid = [self._layout.lay(task, spans, job.request.wording) for task in case.tasks]
            template = laid[0].prompt.template
            if self._profile.dialect.reason_first:
                read = yield from self._reason_and_read(laid, case.explained, job)
            else:
                read = yield from self._read(laid, case.explained)
        except Cancelled:
            pass
        judged = cast(Judged, job.unjudged())
        if read.joints is not None:
            judged = case.conclude(read.joints)
        judged = replace(
            judged,
            rationale=read.reason,
            usage=read.usage,
            timings=Timings(seen - started, perf_counter() - seen),
        )
        detail: Detail = laid[0].detail if laid else "full"
        judged = self._signed(judged, template, detail)
        if judged.status != "cancelled":
            job.tell(judged)
        if judged.status == "ok" and read.reason is None and case.explained is not None:
            return (
                yield from self._explain(judged, laid[case.explained], case.outcome(judged), job)
            )
        return judged

    def _read(self, laid: Sequence[LaidPrompt], explained: int | None) -> Steps[_Read]:
        last = len(laid) - 1 if explained is None else explained
        demands = []
        for index, prompt in enumerate(laid):
            # The rationale needs the rest of the stated answer, and one cell for itself.
            rest = prompt.answers.longest - len(prompt.answers.outcomes.forced) + 1
            demands.append(
                prompt.read(keep=index == last, reserve=rest if index == explained else 0)
            )
        found = yield from reading(demands)
        usage = _prompts(laid)
        for one in found:
            usage += Usage(decoded_tokens=one.spent.decoded, reused_tokens=one.spent.reused)
        return _Read(tuple(one.joint for one in found), usage)

    def _reason_and_read(
        self, laid: Sequence[LaidPrompt], explained: int | None, job: JudgementJob
    ) -> Steps[_Read]:
        """Generate reasons up to the answers' lead-in, then read the verdicts behind them.

        A reason is tokenized again as a whole, as it stood in training; it may have ended anywhere
        inside a token.
        """
        reasons = yield from writing(
            [
                Write(
                    units_of(prompt.spans),
                    job.sampling.max_tokens,
                    self._writer(
                        job,
                        self._layout.lead_in(prompt.prompt.setting),
                        told=index == explained,  # only the reason that is reported
                    ),
                    reserve=prompt.answers.longest,
                    keep=True,
                )
                for index, prompt in enumerate(laid)
            ]
        )
        usage = _prompts(laid)
        for one in reasons:
            usage += Usage(
                decoded_tokens=one.spent.decoded,
                reused_tokens=one.spent.reused,
                rationale_tokens=one.n_tokens,
            )
        reason = None if explained is None else reasons[explained].text
        if any(one.ended == "cancelled" for one in reasons):
            return _Read(None, usage, reason)
        found = yield from reading(
            [
                prompt.read(behind=self._layout.text(one.text).tokens)
                for prompt, one in zip(laid, reasons, strict=True)
            ]
        )
        usage += Usage(decoded_tokens=sum(one.spent.decoded for one in found))
        return _Read(tuple(one.joint for one in found), usage, reason)

    def _explain(
        self, judged: Judged, laid: LaidPrompt, outcome: int, job: JudgementJob
    ) -> Steps[Judged]:
        """Continue the stated answer."""
        started = perf_counter()
        reason = Generated("", 0, "cancelled")
        if not job.cancelled:
            (reason,) = yield from writing(
                [
                    Write(
                        units_of(laid.spans) + laid.answers.tokens[outcome],
                        job.sampling.max_tokens,
                        self._writer(job, "\n\n"),
                    )
                ]
            )
        return replace(
            judged,
            status="cancelled" if reason.ended == "cancelled" else judged.status,
            rationale=reason.text,
            usage=judged.usage + Usage(rationale_tokens=reason.n_tokens),
            timings=judged.timings + Timings(rationale=perf_counter() - started),
        )

    def _writer(
        self, job: JudgementJob, stop: str, *, told: bool = True
    ) -> Callable[[int], Writer]:
        """Begins a reason."""
        return partial(
            Writer,
            job.sampling,
            self._backend.token_bytes,
            self._layout.end_tokens | self._backend.info.end_tokens,
            stops=(stop,),
            tell=job.tell if told else lambda piece: None,
        )

    def _signed(self, judged: Judged, template: str, detail: Detail = "full") -> Judged:
        return replace(judged, critic=self._profile.name, template=template, detail=detail)


def _tell_tiles(job: JudgementJob, done: int, total: int) -> None:
    job.tell(Progress("image", done, total))


def _prompts(laid: Sequence[LaidPrompt]) -> Usage:
    return Usage(
        prompt_tokens=sum(prompt.n_tokens for prompt in laid),
        image_tokens=sum(prompt.n_image_tokens for prompt in laid),
    )
