"""Everything that can go wrong is found before the model is loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from edgecritic.errors import ContextOverflowError, InputError
from edgecritic.prompts import Dialect, load_dialect
from edgecritic_train.critic_data.rows import CriticRow, Split, read_rows
from edgecritic_train.critic_data.templates import stable_number
from edgecritic_train.tuning.base import Base
from edgecritic_train.tuning.branches import gathered
from edgecritic_train.tuning.config import DataSettings, EvaluationSettings, TuningConfig
from edgecritic_train.tuning.examples import ExampleMaker, Measure
from edgecritic_train.tuning.measuring import measured

logger = logging.getLogger(__name__)

Tell: TypeAlias = Callable[[str], None]
_MANY: Final = 5_000
"""Rows that take so long to measure, some 2,000 a second, that it is told."""


class Maker(Protocol):
    """Lays rows out as what a stage learns from them."""

    @property
    def dialect(self) -> Dialect:
        """Of the rows' prompts."""
        ...

    def measure(self, row: CriticRow) -> Measure:
        """What a row takes; of its pictures, only the headers are read."""
        ...


MakerT = TypeVar("MakerT", bound=Maker)


@dataclass(frozen=True, slots=True)
class Prepared(Generic[MakerT]):
    """What a run learns from and is judged by.

    Attributes:
        train: rows to learn from.
        held_out: rows to judge.
        packs: numbers of those rows in `train` that stand in one sequence, for every sequence.
        lengths: tokens of each sequence.
        maker: lays them out.
    """

    train: tuple[CriticRow, ...]
    held_out: tuple[CriticRow, ...]
    packs: tuple[tuple[int, ...], ...]
    lengths: tuple[int, ...]
    maker: MakerT


@dataclass(frozen=True, slots=True)
class Lesson(Generic[MakerT]):
    """Which rows a stage learns from, and as what.

    Attributes:
        maker: lays them out.
        takes: whether a row has a part in it.
        named: what such rows are called, for messages.
        context: positions that the base was made for; None where it does not say.
        besides: rows to learn from that `DataSettings.train` does not name.
    """

    maker: MakerT
    takes: Callable[[CriticRow], bool]
    named: str
    context: int | None
    besides: Sequence[CriticRow] = ()


def at_the_top(row: CriticRow) -> bool:
    """Whether the row's response is as right as its scale can say."""
    return row.setting == "pointwise" and row.verdict == row.rubric.high


def prepare_rows(config: TuningConfig, base: Base, tell: Tell) -> Prepared[ExampleMaker]:
    """The judgements of a run, and the answers beside them; see `prepare`."""
    answers = [
        replace(row, id=f"{row.id} (answer)")  # the same file may be learned from for its verdicts
        for row in _rows(config.data.answers, "train")
        if at_the_top(row)
    ]
    if config.data.answers and not answers:
        raise InputError(
            f"{', '.join(map(str, config.data.answers))}: no right answers of the split train",
            "name rows files with pointwise rows at the top of their scale, or leave it out",
        )
    maker = ExampleMaker(
        base, load_dialect(config.data.dialect), frozenset(row.id for row in answers)
    )
    lesson = Lesson(maker, lambda _: True, "rows", base.folder.context, answers)
    found = prepare(config, lesson, tell)
    if found.held_out and maker.dialect.reason_first:
        tell("the dialect reasons first: held-out rows are not judged while it trains")
        return replace(found, held_out=())
    return found


def prepare(config: TuningConfig, lesson: Lesson[MakerT], tell: Tell) -> Prepared[MakerT]:
    """Read, lay out and measure all rows; of pictures, the headers.

    Raises:
        CriticError: a file or a row cannot be used; the message names it.
    """
    data, named = config.data, lesson.named
    learned, apart = _rows_of(data)
    learned += lesson.besides
    check_ids((*learned, *apart))
    train, measures = _fitting(learned, data, lesson, tell)
    if not train:
        raise InputError(
            f"{', '.join(map(str, data.train))}: no {named} of the split train are left",
            "name other rows files, or raise data.max_tokens",
        )
    held_out, _ = _fitting(apart, data, lesson, tell)
    judged = drawn(held_out, config.evaluation)
    check_overlap(train, judged)
    packs, lengths = _sequences(train, measures, data)
    behind = f" in {len(packs)} sequences" if len(packs) < len(train) else ""
    tell(
        f"{len(train)} {named} to learn from{behind}, {len(judged)} held out, longest "
        f"{max(lengths)} tokens"
    )
    return Prepared(train, judged, packs, lengths, lesson.maker)


def _sequences(
    rows: Sequence[CriticRow], measures: Sequence[Measure], data: DataSettings
) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Rows by their sequences, and the sequences' tokens."""
    fronts = [one.front if data.share else 0 for one in measures]
    keys = [(row.images, one.opening) for row, one in zip(rows, measures, strict=True)]
    packs = gathered(keys, [one.tokens for one in measures], fronts, data.max_tokens)
    lengths = [
        sum(measures[k].tokens - fronts[k] for k in pack) + fronts[pack[0]] for pack in packs
    ]
    return tuple(map(tuple, packs)), tuple(lengths)


def drawn(rows: Sequence[CriticRow], settings: EvaluationSettings) -> tuple[CriticRow, ...]:
    """As many rows as an evaluation judges, drawn by their ids, in the order of the file.

    At equal distances they could all be of one kind: the data engine's file has pairs and scores
    in turns.
    """
    by_draw = sorted(range(len(rows)), key=lambda k: stable_number("judged", rows[k].id))
    return tuple(rows[k] for k in sorted(by_draw[: settings.rows]))


def check_overlap(train: Sequence[CriticRow], held_out: Sequence[CriticRow]) -> None:
    """No held-out row shares a group with one that is learned.

    Raises:
        InputError: one does.
    """
    learned = {row.group: row for row in train}
    for row in held_out:
        if (other := learned.get(row.group)) is not None:
            raise InputError(
                f"{row.named} is held out, and its group {row.group} is learned, too: "
                f"{other.named}",
                "split again by groups: `edgecritic train data` does",
            )


def _rows_of(data: DataSettings) -> tuple[list[CriticRow], list[CriticRow]]:
    """Those to learn from and those held out; a file that has both is read once."""
    if data.validation:
        held_out = _rows(data.validation, "validation")
        if not held_out:
            raise InputError(
                f"{', '.join(map(str, data.validation))}: no row of the split validation is there",
                'write "split": "validation" into the rows: without it a row is for training',
            )
        return _rows(data.train, "train"), held_out
    rows = _rows(data.train, "train", "validation")
    learned = [row for row in rows if row.split == "train"]
    return learned, [row for row in rows if row.split == "validation"]


def _rows(paths: Sequence[Path], *splits: Split) -> list[CriticRow]:
    return [row for path in paths for row in read_rows(path) if row.split in splits]


def check_ids(rows: Iterable[CriticRow]) -> None:
    """No two rows have the same id.

    Raises:
        InputError: two have.
    """
    seen: dict[str, CriticRow] = {}
    for row in rows:
        if (same := seen.setdefault(row.id, row)) is not row:
            raise InputError(
                f"{row.place}: the id {row.id} is there already, at {same.place}",
                "give every row an id of its own",
            )


def _fitting(
    read: Sequence[CriticRow], data: DataSettings, lesson: Lesson[Any], tell: Tell
) -> tuple[tuple[CriticRow, ...], tuple[Measure, ...]]:
    rows = [row for row in read if lesson.takes(row)]
    if len(rows) > _MANY:
        tell(f"measuring {len(rows):,} {lesson.named}")
    measures = measured(lesson.maker.measure, rows, data.workers)
    context = lesson.context or data.max_tokens
    kept = [
        (row, one)
        for row, one in zip(rows, measures, strict=True)
        if one.tokens <= data.max_tokens and one.positions <= context
    ]
    dropped = len(rows) - len(kept)
    if dropped:
        if data.too_long == "refuse":
            raise _too_long(rows, measures, data.max_tokens, lesson)
        most = min(context, data.max_tokens)
        tell(f"{dropped} {lesson.named} of more than {most} tokens are left out")
    return tuple(row for row, _ in kept), tuple(one for _, one in kept)


def _too_long(
    rows: Sequence[CriticRow], measures: Sequence[Measure], allowed: int, lesson: Lesson[Any]
) -> ContextOverflowError:
    """What is said of the longest row, and of the base where that is what has no room for it."""
    if over := sum(one.tokens > allowed for one in measures):
        row, one = max(zip(rows, measures, strict=True), key=lambda pair: pair[1].tokens)
        return ContextOverflowError(
            f"{row.named} has {one.tokens} tokens, and data.max_tokens is {allowed}; {over} of "
            f"{len(rows)} {lesson.named} are too long",
            "raise data.max_tokens, lower images.max_tokens, or set data.too_long to drop",
        )
    row, one = max(zip(rows, measures, strict=True), key=lambda pair: pair[1].positions)
    return ContextOverflowError(
        f"{row.named} takes {one.positions} positions, and the base was made for {lesson.context}",
        "lower images.max_tokens, set data.too_long to drop, or use a base with a longer context",
    )
