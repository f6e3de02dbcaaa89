"""Cases whose verdicts are known already, as rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations

from edgecritic.errors import CriticError, InputError
from edgecritic.prompts import Setting
from edgecritic.task import Rubric
from edgecritic.verdict import Winner
from edgecritic_train.critic_data.rows import CriticRow
from edgecritic_train.critic_data.scales import as_number, on_levels
from edgecritic_train.critic_data.sources.cases import Case
from edgecritic_train.critic_data.sources.intake import Intake
from edgecritic_train.critic_data.templates import PAIRWISE, POINTWISE, stable_choice, stable_number


@dataclass(frozen=True, slots=True)
class JudgedOptions:
    """What to make of scores and winners.

    Attributes:
        rubric: the scale of the scores, and by what they were given.
        pair_margin: pairs are made from scores that differ by more than this, and ties from equal
            ones; None makes none.
        seed: another one draws other wordings and orders.

    Raises:
        InputError: the margin is below 0, or no number.
    """

    rubric: Rubric = field(default_factory=Rubric)
    pair_margin: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pair_margin is not None and not 0 <= self.pair_margin < math.inf:
            raise InputError(
                f"the margin of pairs from scores is {self.pair_margin:g}", "give 0 or more"
            )


def judged_rows(
    cases: Iterable[Case], options: JudgedOptions, intake: Intake
) -> Iterator[CriticRow]:
    """The rows that scores and winners make; cases without a verdict are dropped and counted.

    Raises:
        InputError: the intake is strict, and a case has no verdict or one out of its range.
    """
    for case in cases:
        try:
            rows = case_rows(case, options)
        except CriticError as error:
            intake.drop(case.source, "a score or winner that makes no row", case.named, error)
            continue
        if not rows:
            intake.drop(case.source, "no score and no winner", case.named)
        yield from intake.take(rows)


def case_rows(case: Case, options: JudgedOptions) -> list[CriticRow]:
    """The rows of one case; none if it has no verdict.

    Raises:
        InputError: a score is out of its range.
    """
    return [_row(case, one) for one in (*_scored(case, options), *_compared(case, options))]


@dataclass(frozen=True, slots=True)
class _Found:
    """One verdict of a case."""

    part: str
    responses: tuple[str, ...]
    verdict: int | Winner
    reason: str
    rubric: Rubric
    wording: int


def _scored(case: Case, options: JudgedOptions) -> Iterator[_Found]:
    for k, (response, score) in enumerate(zip(case.responses, case.scores, strict=False)):
        if score is None:
            continue
        level, rubric = on_levels(score, options.rubric)
        reason = case.reasons[k] if case.reasons else ""
        if not reason and len(case.responses) == 1:
            reason = case.reason
        wording = stable_choice(POINTWISE, options.seed, case.id, k).wording
        yield _Found(f"s{k + 1}", (response,), level, reason, rubric, wording)


def _compared(case: Case, options: JudgedOptions) -> Iterator[_Found]:
    if case.winner is not None:
        yield _pair(case, 0, 1, case.winner, options)
        return
    if options.pair_margin is None:
        return
    given = [k for k, score in enumerate(case.scores) if score is not None]
    for one, other in combinations(given, 2):
        # Which of the two stands first is drawn, so that the first one does not win more often.
        swapped = stable_number("order", options.seed, case.id, one, other) % 2
        i, j = (other, one) if swapped else (one, other)
        gap = as_number(str(case.scores[i])) - as_number(str(case.scores[j]))
        if gap == 0:
            yield _pair(case, i, j, "tie", options)
        elif abs(gap) > Fraction(str(options.pair_margin)):
            yield _pair(case, i, j, "first" if gap > 0 else "second", options)


def _pair(case: Case, i: int, j: int, winner: Winner, options: JudgedOptions) -> _Found:
    # Nobody was asked by the templates' criteria, so only those of the table are named.
    rubric = Rubric(criteria=options.rubric.criteria)
    wording = stable_choice(PAIRWISE, options.seed, case.id, i, j).wording
    reason = case.reason if case.winner is not None else ""
    texts = (case.responses[i], case.responses[j])
    return _Found(f"p{i + 1}-{j + 1}", texts, winner, reason, rubric, wording)


def _row(case: Case, found: _Found) -> CriticRow:
    setting: Setting = "pairwise" if len(found.responses) == 2 else "pointwise"
    return CriticRow(
        id=f"{case.id}/{found.part}",
        setting=setting,
        question=case.question,
        responses=found.responses,
        verdict=found.verdict,
        images=case.images,
        reference=case.reference,
        rubric=found.rubric,
        wording=found.wording,
        reason=found.reason,
        source=case.source,
        judge=case.judge,
        group=case.group or case.id,
        split=case.split,
    )
