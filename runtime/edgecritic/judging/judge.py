"""One judgement from picture to rationale, as a stream; written once for both settings."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from time import perf_counter
from typing import Generic, TypeVar, cast

from edgecritic.backends.base import Backend, BackendInfo, Cancelled
from edgecritic.debias import OUTCOMES
from edgecritic.judging.adaptive import Pair
from edgecritic.judging.base import SHOWN, Judged, Options, Orders
from edgecritic.judging.generation import Generated, extend, generate
from edgecritic.judging.layout import LaidPrompt, Layout
from edgecritic.judging.reading import read_after_reason, read_verdicts
from edgecritic.judging.results import (
    LogProbs,
    Shown,
    pairwise_ranking,
    pointwise_ranking,
    pointwise_verdict,
    preference,
)
from edgecritic.judging.rounds import rank_in_rounds
from edgecritic.judging.sharing import Beginning, decode_beginning
from edgecritic.pictures import ImageInput, PictureEncoder
from edgecritic.profile import CriticProfile
from edgecritic.task import Task
from edgecritic.verdict import Detail, Preference, Ranking, Timings, Usage, Verdict


@dataclass(frozen=True, slots=True)
class _Case(Generic[Judged]):
    """What tells the two settings apart.

    Attributes:
        tasks: what to decode; the last ones may be there for the rationale alone.
        explained: the task whose answer the rationale continues, or None.
        conclude: from the tasks' joint log-probabilities to the judgement.
        outcome: index of the answer that states a judgement.
        cancelled: the judgement when nothing is known yet.
    """

    tasks: tuple[Task, ...]
    explained: int | None
    conclude: Callable[[Sequence[LogProbs]], Judged]
    outcome: Callable[[Judged], int]
    cancelled: Judged


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read, whichever of verdict and reason comes first in the dialect."""

    joints: tuple[LogProbs, ...] | None
    decoded: int
    kept: int | None = None
    reason: str | None = None
    generated: int = 0


class Judge:
    """Judges with an engine on this machine. Between judgements no sequence is open.

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

    @property
    def info(self) -> BackendInfo:
        return self._backend.info

    @property
    def concurrent(self) -> bool:
        return False

    def close(self) -> None:
        self._backend.close()

    def pointwise(
        self, image: ImageInput, task: Task, options: Options
    ) -> Generator[Verdict | str, None, None]:
        """Judge one response."""
        levels = task.rubric.range
        calibration = self._profile.calibration
        return self._judge(
            image,
            _Case(
                tasks=(task,),
                explained=0 if options.rationale else None,
                conclude=lambda joints: pointwise_verdict(joints[0], levels, calibration),
                outcome=lambda verdict: levels.index(cast(int, verdict.level)),
                cancelled=Verdict("cancelled", None, None, {}, None, 0.0),
            ),
            options,
        )

    def pairwise(
        self, image: ImageInput, task: Task, orders: Orders, options: Options
    ) -> Generator[Preference | str, None, None]:
        """Judge two responses; the rationale always speaks of them in the given order."""
        shown = SHOWN[orders]
        tasks = {"first": task, "second": task.swapped()}
        decoded = list(shown)
        if options.rationale and "first" not in shown and not self._profile.dialect.reason_first:
            decoded.append("first")
        has_given = options.rationale and "first" in decoded
        calibration = self._profile.calibration
        return self._judge(
            image,
            _Case(
                tasks=tuple(tasks[order] for order in decoded),
                explained=decoded.index("first") if has_given else None,
                conclude=lambda joints: preference(
                    dict(zip(shown, joints, strict=False)), calibration
                ),
                outcome=lambda found: OUTCOMES.index(found.winner or "tie"),
                cancelled=Preference("cancelled", None, {}, None, None, ()),
            ),
            options,
        )

    def _judge(
        self, image: ImageInput, case: _Case[Judged], options: Options
    ) -> Generator[Judged | str, None, None]:
        template = self._profile.dialect.identity
        started = seen = perf_counter()
        read: _Read | None = None
        try:
            spans = self._pictures.spans(image, options.cancel)
            seen = perf_counter()
            laid = [self._layout.lay(task, spans, options.wording) for task in case.tasks]
            template = laid[0].prompt.template
            read = yield from self._read(laid, case.explained, options)
        except Cancelled:
            timings = Timings(seen - started, perf_counter() - seen)
            yield self._signed(replace(case.cancelled, timings=timings), template)
            return
        try:
            judged = case.cancelled if read.joints is None else case.conclude(read.joints)
            judged = replace(
                judged,
                rationale=read.reason,
                usage=_usage(laid, read),
                timings=Timings(seen - started, perf_counter() - seen),
            )
            judged = self._signed_by(judged, laid[0])
            yield judged
            if read.kept is not None and judged.status == "ok" and case.explained is not None:
                prompt, outcome = laid[case.explained], case.outcome(judged)
                judged = yield from self._explain(judged, prompt, outcome, read.kept, options)
                yield judged
        finally:
            if read.kept is not None:
                self._backend.close_sequence(read.kept)

    def _read(
        self,
        laid: Sequence[LaidPrompt],
        explained: int | None,
        options: Options,
        beginning: Beginning | None = None,
    ) -> Generator[str, None, _Read]:
        if not self._profile.dialect.reason_first:
            found = read_verdicts(
                self._backend, laid, keep=explained, beginning=beginning, cancel=options.cancel
            )
            return _Read(found.joints, found.decoded, found.kept)
        joints: list[LogProbs] = []
        reason, decoded, generated = None, 0, 0
        for index, prompt in enumerate(laid):
            steps = read_after_reason(
                self._backend, self._layout, prompt, options.sampling, options.cancel
            )
            # Only the reason that is reported is streamed.
            behind = (yield from steps) if index == explained else drained(steps)
            decoded += behind.decoded
            generated += behind.reason.n_tokens
            if index == explained:
                reason = behind.reason.text
            if behind.joint is None:
                return _Read(None, decoded, reason=reason, generated=generated)
            joints.append(behind.joint)
        return _Read(tuple(joints), decoded, reason=reason, generated=generated)

    def _explain(
        self, judged: Judged, laid: LaidPrompt, outcome: int, sequence: int, options: Options
    ) -> Generator[str, None, Judged]:
        """Continue the stated answer; the pieces, and then the judgement with its rationale."""
        started = perf_counter()
        tail = laid.answers.tokens[outcome][len(laid.answers.outcomes.forced) :]
        try:
            logits = extend(self._backend, sequence, tail, options.cancel)
            reason = yield from generate(
                self._backend,
                sequence,
                logits,
                options.sampling,
                stops=("\n\n",),
                end_tokens=self._layout.end_tokens,
                cancel=options.cancel,
            )
        except Cancelled:
            reason = Generated("", 0, "cancelled")
        return replace(
            judged,
            status="cancelled" if reason.ended == "cancelled" else judged.status,
            rationale=reason.text,
            usage=judged.usage + Usage(rationale_tokens=reason.n_tokens),
            timings=judged.timings + Timings(rationale=perf_counter() - started),
        )

    def rank_pairwise(
        self,
        image: ImageInput,
        task: Task,
        responses: Sequence[str],
        options: Options,
        pairs: Sequence[tuple[int, int]],
    ) -> Ranking:
        """These pairs of `responses` in both orders, through one tree; `task` names the rest."""
        ordered = [order for i, j in pairs for order in ((i, j), (j, i))]
        tasks = [replace(task, responses=(responses[i], responses[j])) for i, j in ordered]

        def conclude(joints: Sequence[LogProbs], asked: LaidPrompt) -> Ranking:
            by_pair = dict(zip(ordered, joints, strict=True))
            found = []
            for i, j in pairs:
                orders: dict[Shown, LogProbs] = {"first": by_pair[i, j], "second": by_pair[j, i]}
                judged = preference(orders, self._profile.calibration)
                found.append((i, j, self._signed_by(judged, asked)))
            return pairwise_ranking(len(responses), found)

        return self._rank(image, tasks, len(responses), conclude, options)

    def rank_adaptive(
        self, image: ImageInput, task: Task, responses: Sequence[str], options: Options
    ) -> Ranking:
        """As few ordered pairs as tell the order, in rounds; `task` names the rest."""
        started = seen = perf_counter()
        beginning: Beginning | None = None
        usage = Usage()

        def read(pairs: Sequence[Pair]) -> Sequence[LogProbs]:
            nonlocal usage
            asked = [laid[pair] for pair in pairs]
            found = drained(self._read(asked, None, options, beginning))
            usage += _usage(asked, found)
            if found.joints is None:
                raise Cancelled
            return found.joints

        def prefer(orders: Mapping[Shown, LogProbs]) -> Preference:
            return self._signed_by(preference(orders, self._profile.calibration), laid[0, 1])

        try:
            spans = self._pictures.spans(image, options.cancel)
            seen = perf_counter()
            tasks = {
                pair: replace(task, responses=tuple(responses[index] for index in pair))
                for pair in permutations(range(len(responses)), 2)
            }
            laid = {
                pair: self._layout.lay(task, spans, options.wording) for pair, task in tasks.items()
            }
            if not self._profile.dialect.reason_first:
                rows = [row for prompt in laid.values() for row in prompt.verdict_rows]
                beginning = decode_beginning(self._backend, rows, options.cancel)
                usage += Usage(decoded_tokens=0 if beginning is None else beginning.cells)
            ranking = rank_in_rounds(responses, read, prefer)
        except Cancelled:
            ranking = Ranking("cancelled", (), (None,) * len(responses))
        finally:
            if beginning is not None:
                self._backend.close_sequence(beginning.sequence)
        timings = Timings(seen - started, perf_counter() - seen)
        return replace(ranking, usage=usage, timings=timings)

    def rank_pointwise(
        self, image: ImageInput, task: Task, responses: Sequence[str], options: Options
    ) -> Ranking:
        """Every response by itself, through one tree; `task` names the rest."""
        tasks = [replace(task, responses=(response,)) for response in responses]
        levels, calibration = task.rubric.range, self._profile.calibration

        def conclude(joints: Sequence[LogProbs], asked: LaidPrompt) -> Ranking:
            found = [pointwise_verdict(joint, levels, calibration) for joint in joints]
            return pointwise_ranking([self._signed_by(verdict, asked) for verdict in found])

        return self._rank(image, tasks, len(responses), conclude, options)

    def _rank(
        self,
        image: ImageInput,
        tasks: Sequence[Task],
        n_responses: int,
        conclude: Callable[[Sequence[LogProbs], LaidPrompt], Ranking],
        options: Options,
    ) -> Ranking:
        cancelled = Ranking("cancelled", (), (None,) * n_responses)
        started = seen = perf_counter()
        try:
            spans = self._pictures.spans(image, options.cancel)
            seen = perf_counter()
            laid = [self._layout.lay(task, spans, options.wording) for task in tasks]
            read = drained(self._read(laid, None, options))
        except Cancelled:
            return replace(cancelled, timings=Timings(seen - started, perf_counter() - seen))
        ranking = cancelled
        if read.joints is not None:
            ranking = conclude(read.joints, laid[0])
        return replace(
            ranking,
            usage=_usage(laid, read),
            timings=Timings(seen - started, perf_counter() - seen),
        )

    def _signed(self, judged: Judged, template: str, detail: Detail = "full") -> Judged:
        return replace(judged, critic=self._profile.name, template=template, detail=detail)

    def _signed_by(self, judged: Judged, asked: LaidPrompt) -> Judged:
        return self._signed(judged, asked.prompt.template, asked.detail)


def _usage(laid: Sequence[LaidPrompt], read: _Read) -> Usage:
    return Usage(
        prompt_tokens=sum(prompt.n_tokens for prompt in laid),
        image_tokens=sum(prompt.n_image_tokens for prompt in laid),
        decoded_tokens=read.decoded,
        rationale_tokens=read.generated,
    )


Result = TypeVar("Result")


def drained(steps: Generator[object, None, Result]) -> Result:
    """What a generator returns, when nobody looks at what it yields."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast(Result, end.value)
