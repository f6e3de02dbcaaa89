"""The second stage: the critic ranks all answers; and what the outside judge says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TypeVar

from edgecritic.errors import InputError
from edgecritic.progress import Tell
from edgecritic.verdict import Winner
from edgecritic_train.critic_data.journal import Journal
from edgecritic_train.rounds.config import JudgeSettings
from edgecritic_train.rounds.entries import (
    Comparison,
    Ranked,
    Sample,
    comparison_journal,
    content_key,
    ranked_journal,
)
from edgecritic_train.rounds.judges import OpenJudge, PreferenceJudge, judge_identity
from edgecritic_train.rounds.questions import Question
from edgecritic_train.rounds.sampling import to_rank

_TOLD_EVERY = 50
Entry = TypeVar("Entry")


class JudgeChair:
    """A judge that is loaded when it is first needed.

    Args:
        settings: of the judge.
        open_judge: loads it.
    """

    def __init__(self, settings: JudgeSettings, open_judge: OpenJudge) -> None:
        self._settings, self._open = settings, open_judge
        self._judge: PreferenceJudge | None = None
        self._lock = Lock()
        self.identity = judge_identity(settings)
        self.name = self.identity[:12]

    def sit(self) -> PreferenceJudge:
        """The judge.

        Raises:
            CriticError: it cannot be loaded.
        """
        with self._lock:
            if self._judge is None:
                self._judge = self._open(self._settings)
                self.name = self._judge.name
            return self._judge

    def each(
        self, work: Callable[[Question], Entry], questions: Sequence[Question]
    ) -> Iterator[Entry]:
        """What comes of the work on each question, in order; some are worked on at once.

        An interrupt or an error leaves out those that were not begun, and gives up the others.
        """
        with ThreadPoolExecutor(self._settings.parallel) as pool:
            try:
                yield from pool.map(work, questions)
            except BaseException:
                if self._judge is not None:
                    self._judge.stop()
                pool.shutdown(cancel_futures=True)
                raise

    def close(self) -> None:
        """Free the judge, if there is one."""
        if self._judge is not None:
            self._judge.close()
            self._judge = None


@contextmanager
def chair(settings: JudgeSettings, open_judge: OpenJudge) -> Iterator[JudgeChair]:
    """A judge for the block."""
    with closing(JudgeChair(settings, open_judge)) as seat:
        yield seat


def rank_all(
    seat: JudgeChair,
    questions: Sequence[Question],
    samples: Mapping[str, Sequence[Sample]],
    path: Path,
    tell: Tell,
) -> list[Ranked]:
    """A ranking for each question; those that are in the journal are not asked again.

    Raises:
        CriticError: the judge cannot be loaded or asked any more, or the disk is full.
    """

    def ranked(question: Question) -> Ranked:
        asked = to_rank(question, samples[question.id], seat.identity, seat.name)
        return _ranked(seat, question, asked, journal)

    with ranked_journal(path) as journal:
        found = []
        for entry in seat.each(ranked, questions):
            if len(entry.responses) > 1 and journal.get(entry.key) is None:
                journal.append(entry)  # here, so in the questions' order
            found.append(entry)
            if len(found) % _TOLD_EVERY == 0:
                tell(f"{len(found)}/{len(questions)} questions ranked")
        return found


def _ranked(
    seat: JudgeChair, question: Question, asked: Ranked, journal: Journal[Ranked]
) -> Ranked:
    known = journal.get(asked.key)
    if known is not None or len(asked.responses) < 2:
        return known or asked
    judge = seat.sit()
    try:
        matches = judge.rank(question, asked.responses)
    except InputError as error:
        entry = replace(asked, outcome="refused", judge=judge.name, why=error.message)
    else:
        outcome = replace(asked, outcome="unparsed" if matches is None else "ok")
        entry = replace(outcome, judge=judge.name, matches=matches or ())
    return entry


def compare_all(
    seat: JudgeChair,
    questions: Sequence[Question],
    later: Mapping[str, Sequence[Sample]],
    first: Mapping[str, Sequence[Sample]],
    path: Path,
) -> list[Comparison]:
    """The later policy's answer beside the first one's, for each question.

    Raises:
        CriticError: the judge cannot be loaded or asked any more, or the disk is full.
    """

    def compared(question: Question) -> Comparison:
        pair = (later[question.id][0].text, first[question.id][0].text)
        key = content_key("comparison", seat.identity, question.content, pair)
        entry = journal.get(key)
        if entry is None:
            judge = seat.sit()
            entry = Comparison(key, question.id, _winner(judge, question, pair), judge.name)
        return entry

    with comparison_journal(path) as journal:
        found = []
        for entry in seat.each(compared, questions):
            if journal.get(entry.key) is None:
                journal.append(entry)
            found.append(entry)
        return found


def _winner(judge: PreferenceJudge, question: Question, pair: tuple[str, str]) -> Winner | None:
    if pair[0] == pair[1]:
        return "tie"
    try:
        matches = judge.rank(question, pair)
    except InputError:
        return None
    return matches[0].winner if matches else None
