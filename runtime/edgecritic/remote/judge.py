"""A judge whose model is elsewhere: one judgement from prompt to reason, over a chat endpoint."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Generic, TypeVar, cast

from edgecritic.backends.base import Cancelled, CancelToken, EngineInfo
from edgecritic.debias import OUTCOMES
from edgecritic.errors import InputError
from edgecritic.judging.adaptive import Pair
from edgecritic.judging.base import SHOWN, Judged, Options, Orders
from edgecritic.judging.results import Shown, pairwise_ranking, pointwise_ranking
from edgecritic.judging.rounds import rank_in_rounds
from edgecritic.pictures import ImageInput
from edgecritic.profile import CriticProfile
from edgecritic.remote.address import Address
from edgecritic.remote.asking import Asked, Asker
from edgecritic.remote.client import Client
from edgecritic.remote.endpoint import Endpoint
from edgecritic.remote.images import data_urls
from edgecritic.remote.options import RemoteOptions
from edgecritic.remote.results import remote_preference, remote_verdict
from edgecritic.remote.verdicts import Reading
from edgecritic.task import Task
from edgecritic.verdict import Preference, Ranking, Timings, Usage, Verdict
from edgecritic.vision import ImageLimits

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Case(Generic[Judged]):
    """What tells the two settings apart.

    Attributes:
        tasks: what to ask.
        explained: the task that the rationale speaks of.
        conclude: from the tasks' readings to the judgement.
        outcome: index of the answer that states a judgement.
        cancelled: the judgement when nothing is known yet.
    """

    tasks: tuple[Task, ...]
    explained: Task
    conclude: Callable[[Sequence[Reading]], Judged]
    outcome: Callable[[Judged], int]
    cancelled: Judged


class RemoteJudge:
    """Judges through one chat endpoint; several threads may at once.

    Args:
        address: of the endpoint.
        model: its name there.
        profile: dialect, rubric and calibration; its pictures are the endpoint's business.
        options: how to reach it.
        limits: on pictures.

    Raises:
        InputError: the dialect lets critics reason first.
    """

    def __init__(
        self,
        address: Address,
        model: str,
        profile: CriticProfile,
        options: RemoteOptions,
        limits: ImageLimits,
    ) -> None:
        if profile.dialect.reason_first:
            raise InputError(
                f"the dialect {profile.dialect.name} reasons first, and a remote critic is asked "
                "for its verdict first",
                "leave the dialect to its default",
            )
        endpoint = Endpoint(Client(address, options), model, options.prefill)
        self._asker = Asker(endpoint, profile.dialect, options)
        self._profile = profile
        self._options = options
        self._limits = limits
        self._info = EngineInfo("remote", model, address.place)

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def concurrent(self) -> bool:
        return True

    def close(self) -> None:
        """Cut all requests that are under way."""
        self._asker.close()

    def pointwise(
        self, image: ImageInput, task: Task, options: Options
    ) -> Generator[Verdict | str, None, None]:
        """Judge one response."""
        levels, calibration = task.rubric.range, self._profile.calibration
        return self._judge(
            image,
            _Case(
                tasks=(task,),
                explained=task,
                conclude=lambda readings: remote_verdict(readings[0], levels, calibration),
                outcome=lambda verdict: levels.index(cast(int, verdict.level)),
                cancelled=Verdict("cancelled", None, None, {}, None, 0.0),
            ),
            options,
        )

    def pairwise(
        self, image: ImageInput, task: Task, orders: Orders, options: Options
    ) -> Generator[Preference | str, None, None]:
        """Judge two responses, both orders at the same time."""
        shown = SHOWN[orders]
        tasks: dict[Shown, Task] = {"first": task, "second": task.swapped()}
        calibration = self._profile.calibration
        return self._judge(
            image,
            _Case(
                tasks=tuple(tasks[order] for order in shown),
                explained=task,
                conclude=lambda readings: remote_preference(
                    dict(zip(shown, readings, strict=True)), calibration
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
        try:
            urls = self._urls(image, options.cancel)
            seen = perf_counter()
            tasks = (*case.tasks, case.explained)
            *asked, explained = self._asker.lay(tasks, urls, options.wording, options.cancel)
            template = explained.template
            readings, usage = self._asker.read(asked, options.cancel)
        except Cancelled:
            timings = Timings(seen - started, perf_counter() - seen)
            yield self._signed(replace(case.cancelled, timings=timings), template)
            return
        judged = replace(
            case.conclude(readings),
            usage=usage,
            timings=Timings(seen - started, perf_counter() - seen),
        )
        judged = self._signed(judged, template)
        yield judged
        if options.rationale and judged.status == "ok":
            yield (yield from self._explain(judged, explained, case.outcome(judged), options))

    def _explain(
        self, judged: Judged, asked: Asked, outcome: int, options: Options
    ) -> Generator[str, None, Judged]:
        """Have the stated answer explained; the pieces, and then the judgement with its reason."""
        started = perf_counter()
        pieces: list[str] = []
        usage, status = Usage(), judged.status
        try:
            if options.sampling.max_tokens > 0:
                steps = self._asker.explain(asked, outcome, options.sampling, options.cancel)
                usage = yield from _kept(steps, pieces)
        except Cancelled:
            status = "cancelled"
        return replace(
            judged,
            status=status,
            rationale="".join(pieces),
            usage=judged.usage + usage,
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
        """These pairs of `responses` in both orders; `task` names the rest."""
        ordered = [order for i, j in pairs for order in ((i, j), (j, i))]
        tasks = [replace(task, responses=(responses[i], responses[j])) for i, j in ordered]

        def conclude(readings: Sequence[Reading], template: str) -> Ranking:
            by_pair = dict(zip(ordered, readings, strict=True))
            found = []
            for i, j in pairs:
                orders: dict[Shown, Reading] = {"first": by_pair[i, j], "second": by_pair[j, i]}
                judged = remote_preference(orders, self._profile.calibration)
                found.append((i, j, self._signed(judged, template)))
            return pairwise_ranking(len(responses), found)

        return self._rank(image, tasks, len(responses), conclude, options)

    def rank_adaptive(
        self, image: ImageInput, task: Task, responses: Sequence[str], options: Options
    ) -> Ranking:
        """As few ordered pairs as tell the order, in rounds; `task` names the rest."""
        started = seen = perf_counter()
        template, usage = self._profile.dialect.identity, Usage()

        def read(pairs: Sequence[Pair]) -> Sequence[Reading]:
            nonlocal template, usage
            tasks = [replace(task, responses=(responses[i], responses[j])) for i, j in pairs]
            asked = self._asker.lay(tasks, urls, options.wording, options.cancel)
            template = asked[0].template
            readings, used = self._asker.read(asked, options.cancel)
            usage += used
            return readings

        def prefer(orders: Mapping[Shown, Reading]) -> Preference:
            judged = remote_preference(orders, self._profile.calibration)
            return self._signed(judged, template)

        try:
            urls = self._urls(image, options.cancel)
            seen = perf_counter()
            ranking = rank_in_rounds(responses, read, prefer)
        except Cancelled:
            ranking = Ranking("cancelled", (), (None,) * len(responses))
        timings = Timings(seen - started, perf_counter() - seen)
        return replace(ranking, usage=usage, timings=timings)

    def rank_pointwise(
        self, image: ImageInput, task: Task, responses: Sequence[str], options: Options
    ) -> Ranking:
        """Every response by itself; `task` names the rest."""
        tasks = [replace(task, responses=(response,)) for response in responses]
        levels, calibration = task.rubric.range, self._profile.calibration

        def conclude(readings: Sequence[Reading], template: str) -> Ranking:
            found = [remote_verdict(reading, levels, calibration) for reading in readings]
            return pointwise_ranking([self._signed(verdict, template) for verdict in found])

        return self._rank(image, tasks, len(responses), conclude, options)

    def _rank(
        self,
        image: ImageInput,
        tasks: Sequence[Task],
        n_responses: int,
        conclude: Callable[[Sequence[Reading], str], Ranking],
        options: Options,
    ) -> Ranking:
        started = seen = perf_counter()
        try:
            urls = self._urls(image, options.cancel)
            seen = perf_counter()
            asked = self._asker.lay(tasks, urls, options.wording, options.cancel)
            readings, usage = self._asker.read(asked, options.cancel)
        except Cancelled:
            timings = Timings(seen - started, perf_counter() - seen)
            return Ranking("cancelled", (), (None,) * n_responses, timings=timings)
        return replace(
            conclude(readings, asked[0].template),
            usage=usage,
            timings=Timings(seen - started, perf_counter() - seen),
        )

    def _urls(self, image: ImageInput, cancel: CancelToken | None) -> list[str]:
        return data_urls(image, self._limits, self._options.longest_side, cancel)

    def _signed(self, judged: Judged, template: str) -> Judged:
        return replace(judged, critic=self._profile.name, template=template)


def _kept(steps: Generator[str, None, Result], pieces: list[str]) -> Generator[str, None, Result]:
    """The steps, whose pieces are also put into a list."""
    while True:
        try:
            piece = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        pieces.append(piece)
        yield piece
