"""Puts what is not answered yet to the teacher, several asks at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from edgecritic.backends.base import CancelToken
from edgecritic.errors import InputError
from edgecritic_train.critic_data.building.estimate import Prices
from edgecritic_train.critic_data.building.ledger import Entry, Ledger
from edgecritic_train.critic_data.building.pace import Pace
from edgecritic_train.critic_data.building.plan import Ask
from edgecritic_train.critic_data.building.teachers import Answer, Teacher


@dataclass(slots=True)
class Spent:
    """What this run has used.

    Attributes:
        answers: that came.
        unparsed: among them, without a verdict or a reason.
        refused: asks that could not be put.
        prompt_tokens: read.
        output_tokens: written.
    """

    answers: int = 0
    unparsed: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0

    def count(self, entry: Entry) -> None:
        """Add an entry."""
        self.answers += 1
        self.unparsed += entry.outcome == "unparsed"
        self.refused += entry.outcome == "refused"
        self.prompt_tokens += entry.prompt_tokens
        self.output_tokens += entry.output_tokens


@dataclass(frozen=True, slots=True)
class Work:
    """How to ask.

    Attributes:
        teacher: who.
        ledger: keeps the answers.
        pace: requests a minute.
        parallel: asks under way at once; a teacher that is not concurrent gets one.
        prices: what it costs.
        max_cost: stop when that much was spent; None never stops.
        say: is told after every answer what was spent.
    """

    teacher: Teacher
    ledger: Ledger
    pace: Pace
    parallel: int = 4
    prices: Prices = field(default_factory=Prices)
    max_cost: float | None = None
    say: Callable[[Spent], None] = lambda _: None


def ask_all(asks: Iterable[tuple[str, Ask]], work: Work) -> Spent:
    """Put asks to the teacher; every answer is in the ledger before the next one is counted.

    Args:
        asks: key and ask; equal keys are asked once.
        work: how.

    Raises:
        BackendUnavailableError: the teacher cannot be asked any more.
        InputError: the cost limit was reached.
        ArtifactError: the ledger cannot be written.
        KeyboardInterrupt: somebody stopped it. Whatever is raised, what was answered is kept, and
            the same call goes on from there.
    """
    spent, cancel = Spent(), CancelToken()
    width = max(1, work.parallel) if work.teacher.concurrent else 1
    waiting: set[Future[Entry | None]] = set()
    remaining = _unanswered(asks, work.ledger)
    with ThreadPoolExecutor(width, "teacher") as pool:
        try:
            for key, ask in remaining:
                waiting.add(pool.submit(_asked, key, ask, work, cancel))
                if len(waiting) >= width:
                    waiting = _collect(waiting, spent, work)
            while waiting:
                waiting = _collect(waiting, spent, work)
        except BaseException:
            cancel.cancel()
            for future in waiting:
                future.cancel()
            raise
    return spent


def _unanswered(asks: Iterable[tuple[str, Ask]], ledger: Ledger) -> Iterator[tuple[str, Ask]]:
    begun: set[str] = set()
    for key, ask in asks:
        if key not in begun and ledger.get(key) is None:
            begun.add(key)
            yield key, ask


def _collect(
    waiting: set[Future[Entry | None]], spent: Spent, work: Work
) -> set[Future[Entry | None]]:
    done, rest = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        entry = future.result()
        if entry is not None:
            spent.count(entry)
            work.say(spent)
    cost = work.prices.cost(spent.prompt_tokens, spent.output_tokens)
    if work.max_cost is not None and cost > work.max_cost:
        raise InputError(
            f"{cost:.2f} was spent, and the limit is {work.max_cost:.2f}",
            "raise --max-cost and run the command again: what was answered is kept",
        )
    return rest


def _asked(key: str, ask: Ask, work: Work, cancel: CancelToken) -> Entry | None:
    """One answer, in the ledger; None if it was cancelled."""
    teacher = work.teacher
    work.pace.wait(teacher.requests)
    if cancel.cancelled:
        return None
    started = time.monotonic()
    try:
        answer: Answer = teacher.answer(ask, cancel)
    except InputError as error:
        entry = Entry(key, "refused", why=error.message, id=ask.id, teacher=teacher.name)
        work.ledger.append(entry)
        return entry
    if answer.status == "cancelled":
        return None
    entry = Entry(
        key,
        answer.status,
        verdict=answer.verdict if answer.status == "ok" else None,
        reason=answer.reason,
        confidence=answer.confidence,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        seconds=round(time.monotonic() - started, 3),
        id=ask.id,
        teacher=teacher.name,
        template=f"{answer.template} {ask.template}".strip(),
    )
    work.ledger.append(entry)
    return entry
