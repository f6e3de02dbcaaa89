"""What a teacher is asked of a case: fixed by the case and the seed, so a run can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Literal, TypeAlias, TypeVar

from edgecritic.errors import InputError
from edgecritic.prompts import Setting
from edgecritic.task import Rubric, Task
from edgecritic.verdict import Winner
from edgecritic_train.critic_data.rows import SWAPPED, CriticRow
from edgecritic_train.critic_data.sources.cases import Case
from edgecritic_train.critic_data.sources.judged import JudgedOptions, case_rows
from edgecritic_train.critic_data.templates import (
    pairwise_template,
    pointwise_template,
    stable_number,
)

Orders: TypeAlias = Literal["both", "one"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What to ask of each case.

    Attributes:
        settings: pointwise, pairwise or both.
        orders: ``both`` asks for every pair twice, with the responses exchanged; ``one`` draws
            an order.
        max_scores: responses of a case that are scored, at most.
        max_pairs: pairs of a case that are compared, at most.
        known: verdicts that the table holds; then the teacher is asked for reasons alone.
        seed: another one draws other templates, pairs and orders.

    Raises:
        InputError: nothing would be asked.
    """

    settings: tuple[Setting, ...] = ("pointwise", "pairwise")
    orders: Orders = "both"
    max_scores: int = 4
    max_pairs: int = 3
    known: JudgedOptions | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.settings or self.max_scores < 1 or self.max_pairs < 1:
            raise InputError(
                f"settings {self.settings}, {self.max_scores} scores and {self.max_pairs} pairs "
                "a case ask nothing",
                "name a setting, and give 1 or more",
            )


@dataclass(frozen=True, slots=True)
class Ask:
    """One judgement that a teacher is asked for.

    Attributes:
        case: what it is about.
        id: of the row that it makes.
        responses: one or two.
        rubric: scale and criteria.
        wording: of the teacher's prompt and of the row.
        template: its name, for the audit log.
        verdict: known already, so that only the reason is asked for; None asks for both.
        pair: of the two asks that show a pair in both orders, a name that they share; or empty.
    """

    case: Case
    id: str
    responses: tuple[str, ...]
    rubric: Rubric = field(default_factory=Rubric)
    wording: int = 0
    template: str = ""
    verdict: int | Winner | None = None
    pair: str = ""

    @property
    def task(self) -> Task:
        """What is put to the teacher."""
        case = self.case
        return Task(case.question, self.responses, len(case.images), case.reference, self.rubric)

    def row(self, verdict: int | Winner, reason: str, judge: str) -> CriticRow:
        """The row that an answer makes.

        Raises:
            InputError: the verdict is not one of this ask.
        """
        case = self.case
        return CriticRow(
            id=self.id,
            setting="pointwise" if len(self.responses) == 1 else "pairwise",
            question=case.question,
            responses=self.responses,
            verdict=verdict,
            images=case.images,
            reference=case.reference,
            rubric=self.rubric,
            wording=self.wording,
            reason=reason,
            source=case.source,
            judge=judge,
            group=case.group or case.id,
            split=case.split,
        )


def plan_case(case: Case, options: PlanOptions) -> list[Ask]:
    """All asks of a case.

    Raises:
        InputError: a known score is out of its range.
    """
    if options.known is not None:
        return [ask for row in case_rows(case, options.known) for ask in _known(case, row, options)]
    asks: list[Ask] = []
    if "pointwise" in options.settings:
        asks += _scored(case, options)
    if "pairwise" in options.settings:
        asks += _compared(case, options)
    return asks


def _scored(case: Case, options: PlanOptions) -> Iterator[Ask]:
    numbers = _some(range(len(case.responses)), options.max_scores, options.seed, case.id, "scores")
    for k in numbers:
        has_reference = case.reference is not None
        template = pointwise_template(options.seed, case.id, k, has_reference=has_reference)
        yield Ask(
            case,
            f"{case.id}/s{k + 1}",
            (case.responses[k],),
            template.rubric,
            template.wording,
            template.name,
        )


def _compared(case: Case, options: PlanOptions) -> Iterator[Ask]:
    pairs = list(combinations(range(len(case.responses)), 2))
    for i, j in _some(pairs, options.max_pairs, options.seed, case.id, "pairs"):
        template = pairwise_template(options.seed, case.id, i, j)
        name = f"{case.id}/p{i + 1}-{j + 1}"
        given = Ask(
            case,
            name,
            (case.responses[i], case.responses[j]),
            template.rubric,
            template.wording,
            template.name,
        )
        yield from _orders(given, f"{case.id}/p{j + 1}-{i + 1}", options)


def _known(case: Case, row: CriticRow, options: PlanOptions) -> Iterator[Ask]:
    """What is asked where the verdict is known: the reason, in each order its own."""
    if row.setting not in options.settings:
        return
    given = Ask(case, row.id, row.responses, row.rubric, row.wording, "known", verdict=row.verdict)
    if row.setting == "pointwise":
        yield given
    else:
        yield from _orders(given, f"{row.id}~", options)


def _orders(given: Ask, swapped_id: str, options: PlanOptions) -> Iterator[Ask]:
    verdict = given.verdict
    swapped = replace(
        given,
        id=swapped_id,
        responses=(given.responses[1], given.responses[0]),
        verdict=SWAPPED[verdict] if isinstance(verdict, str) else None,
    )
    if options.orders == "both":
        yield replace(given, pair=given.id)
        yield replace(swapped, pair=given.id)
    else:
        yield swapped if stable_number("order", options.seed, given.id) % 2 else given


def _some(options: Sequence[T], limit: int, *key: object) -> list[T]:
    """At most `limit` of the options, drawn by the key, in their own order."""
    drawn = sorted(range(len(options)), key=lambda k: stable_number(*key, k))[:limit]
    return [options[k] for k in sorted(drawn)]
