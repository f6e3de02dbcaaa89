"""One judgement under way: its steps, what they wait for, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from edgecritic.backends.base import Cancelled, ImageSpan
from edgecritic.judging.demands import Answer, Demand, Read, Steps, Write, Writing
from edgecritic.judging.generation import Generated
from edgecritic.judging.jobs import Job
from edgecritic.judging.reading import check_fit
from edgecritic.judging.trie import Units


@dataclass(slots=True, eq=False)
class Live:
    """A judgement under way.

    Attributes:
        job: who waits for it.
        steps: the judgement, which waits for its demands.
        n_ctx: cells of the engine; a demand that does not fit fails.
        demands: what the steps wait for.
        answers: what is there of that.
        writers: of texts that have begun, by demand.
        begun: something was decoded for it.
        lock: held while its steps run: a watch may end it from another thread.
        ended: its result, or that there is none, is told.
    """

    job: Job
    steps: Steps[Any]
    n_ctx: int
    demands: Sequence[Demand] = ()
    answers: dict[int, Answer] = field(default_factory=dict)
    writers: dict[int, Writing] = field(default_factory=dict)
    begun: bool = False
    lock: Lock = field(default_factory=Lock)
    ended: bool = False

    @property
    def reads(self) -> list[tuple[int, Read]]:
        """Those that wait, by index."""
        return [(index, demand) for index, demand in self._waiting if isinstance(demand, Read)]

    @property
    def writes(self) -> list[tuple[int, Write]]:
        """Those that have not begun, by index."""
        return [(index, demand) for index, demand in self._waiting if isinstance(demand, Write)]

    @property
    def prompts(self) -> list[Units]:
        """Of demands that nothing was done for yet."""
        return [prompt_of(demand) for _, demand in self._waiting]

    @property
    def _waiting(self) -> list[tuple[int, Demand]]:
        if len(self.writers) == len(self.demands):  # asked for every token of a text
            return []
        served = self.answers.keys() | self.writers.keys()
        return [
            (index, demand)
            for index, demand in enumerate(() if self.ended else self.demands)
            if index not in served
        ]

    def begin(self) -> None:
        """Take the first steps."""
        with self.lock:
            self._go_on(lambda: next(self.steps))

    def answer(self, index: int, answer: Answer) -> None:
        """Serve a demand; once all are served, the steps go on."""
        with self.lock:
            if self.ended:
                return
            self.answers[index] = answer
            if len(self.answers) == len(self.demands):
                answers = [self.answers[k] for k in range(len(self.demands))]
                self._go_on(lambda: self.steps.send(answers))

    def feed(self, index: int, logits: Any) -> Generated | None:
        """Give a text its next row of logits; None while it goes on."""
        with self.lock:
            if self.ended:
                return None
            try:
                return self.writers[index].feed(logits)
            except Exception as error:
                self._fail(error)
                return None

    def fail(self, error: BaseException) -> None:
        """Let it end without a result."""
        with self.lock:
            self._fail(error)

    def abandon(self, error: BaseException) -> None:
        """`fail`, whatever its steps are doing at the moment."""
        self.ended = True
        self.job.fail(error)

    def stop(self, unjudged: Callable[[Job], Any]) -> None:
        """End it with what is known, as it was cancelled; not if its steps are running.

        Args:
            unjudged: its result where nothing is known.
        """
        if not self.lock.acquire(blocking=False):
            return
        try:
            if not self.ended:
                self._go_on(self._stopped)
            if not self.ended:
                self._finish(unjudged(self.job))
        finally:
            self.lock.release()

    def close(self) -> None:
        """Let go of the steps."""
        with self.lock:
            self.steps.close()

    def _stopped(self) -> Sequence[Demand]:
        if self.reads or not self.demands:
            return self.steps.throw(Cancelled())
        return self.steps.send([self._so_far(k) for k in range(len(self.demands))])

    def _so_far(self, index: int) -> Answer:
        if index in self.answers:
            return self.answers[index]
        if index in self.writers:
            return self.writers[index].cancelled()
        return Generated("", 0, "cancelled")

    def _go_on(self, step: Callable[[], Sequence[Demand]]) -> None:
        """Run the steps up to the next demands, or to the end."""
        try:
            self.demands, self.answers, self.writers = step(), {}, {}
            for demand in self.demands:
                rows = demand.rows if isinstance(demand, Read) else [demand.units]
                check_fit(rows, demand.reserve, self.n_ctx)
        except StopIteration as end:
            self._finish(end.value)
        except BaseException as error:
            self._fail(error)

    def _finish(self, result: object) -> None:
        self.ended = True
        self.job.finish(result)

    def _fail(self, error: BaseException) -> None:
        self.ended = True
        self.job.fail(error)


def prompt_of(demand: Demand) -> Units:
    """What a demand needs decoded; of several rows the first."""
    return demand.rows[0] if isinstance(demand, Read) else demand.units


def stem_of(units: Units) -> Units:
    """A prompt up to its last picture."""
    pictures = [k for k, unit in enumerate(units) if isinstance(unit, ImageSpan)]
    return units[: pictures[-1] + 1] if pictures else ()
