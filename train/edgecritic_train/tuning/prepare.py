"""Everything that can go wrong is found before the model is loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from edgecritic.errors import ContextOverflowError, InputError
from edgecritic.prompts import load_dialect
from edgecritic_train.critic_data.rows import CriticRow, Split, read_rows
from edgecritic_train.tuning.base import Base
from edgecritic_train.tuning.config import DataSettings, EvaluationSettings, TuningConfig
from edgecritic_train.tuning.examples import ExampleMaker

logger = logging.getLogger(__name__)

Tell: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run learns from and is judged by.

    Attributes:
        train: rows to learn from.
        held_out: rows to judge.
        lengths: tokens of each row in `train`.
        maker: lays them out.
    """

    train: tuple[CriticRow, ...]
    held_out: tuple[CriticRow, ...]
    lengths: tuple[int, ...]
    maker: ExampleMaker


def prepare_rows(config: TuningConfig, base: Base, tell: Tell) -> Prepared:
    """Read, render and measure all rows; of pictures, the headers.

    Raises:
        CriticError: a file or a row cannot be used; the message names it.
    """
    data = config.data
    maker = ExampleMaker(base, load_dialect(data.dialect))
    train, lengths = _fitting(_rows(data.train, "train"), data, maker, tell)
    if not train:
        raise InputError(
            f"{', '.join(map(str, data.train))}: no row of the split train is left",
            "name other rows files, or raise data.max_tokens",
        )
    held_out, _ = _fitting(_rows(data.validation or data.train, "validation"), data, maker, tell)
    if held_out and maker.dialect.reason_first:
        tell("the dialect reasons first: held-out rows are not judged while it trains")
        held_out = ()
    spread = evenly(held_out, config.evaluation)
    check_overlap(train, spread)
    tell(f"{len(train)} rows to learn from, {len(spread)} held out, longest {max(lengths)} tokens")
    return Prepared(train, spread, lengths, maker)


def evenly(rows: Sequence[CriticRow], settings: EvaluationSettings) -> tuple[CriticRow, ...]:
    """As many rows as an evaluation judges, spread over all."""
    wanted = len(rows) if settings.rows is None else min(settings.rows, len(rows))
    return tuple(rows[k * len(rows) // wanted] for k in range(wanted))


def check_overlap(train: Sequence[CriticRow], held_out: Sequence[CriticRow]) -> None:
    """No held-out row shares a group with one that is learned.

    Raises:
        InputError: one does.
    """
    learned = {row.group for row in train}
    for row in held_out:
        if row.group in learned:
            raise InputError(
                f"row {row.id} is held out, and its group {row.group} is learned, too",
                "split again by groups: `edgecritic train data` does",
            )


def _rows(paths: Sequence[Path], split: Split) -> list[CriticRow]:
    rows: list[CriticRow] = []
    seen: dict[str, Path] = {}
    for path in paths:
        for row in read_rows(path, split):
            if row.id in seen:
                raise InputError(
                    f"{path}: the id {row.id} is there already, in {seen[row.id]}",
                    "give every row an id of its own",
                )
            seen[row.id] = path
            rows.append(row)
    return rows


def _fitting(
    rows: Sequence[CriticRow], data: DataSettings, maker: ExampleMaker, tell: Tell
) -> tuple[tuple[CriticRow, ...], tuple[int, ...]]:
    lengths = [maker.length(row) for row in rows]
    kept = [(row, n) for row, n in zip(rows, lengths, strict=True) if n <= data.max_tokens]
    dropped = len(rows) - len(kept)
    if dropped:
        longest = max(range(len(rows)), key=lengths.__getitem__)
        if data.too_long == "refuse":
            raise ContextOverflowError(
                f"{dropped} rows are longer than {data.max_tokens} tokens; row "
                f"{rows[longest].id} has {lengths[longest]}",
                "raise data.max_tokens, lower images.max_tokens, or set data.too_long to drop",
            )
        tell(f"{dropped} rows of more than {data.max_tokens} tokens are left out")
    return tuple(row for row, _ in kept), tuple(n for _, n in kept)
