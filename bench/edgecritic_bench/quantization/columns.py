"""What arms said of the same rows, as columns of numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.quantization.journal import Judged, row_digest
from edgecritic_bench.records import N_LEVELS, WINNERS
from edgecritic_bench.statistics.intervals import renumbered
from edgecritic_bench.tables import Bools, Floats, Ints, Names, log_softmax, winners

UNREAD = len(WINNERS)
"""Stands for an unread verdict: an outcome that is never gold, so it is wrong."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What of a bundle's calibration changes verdicts.

    Attributes:
        pairwise_temperature: see the runtime's manifest.
        pointwise_temperature: likewise.
        tie_margin: nats.
    """

    pairwise_temperature: float = 1.0
    pointwise_temperature: float = 1.0
    tie_margin: float = 0.0

    @classmethod
    def of(cls, meta: Mapping[str, object]) -> Self:
        """What a worker noted."""
        return cls(**{f.name: float(str(meta.get(f.name, f.default))) for f in fields(cls)})


@dataclass(frozen=True, slots=True)
class PairColumns:
    """One arm on n pairs.

    Attributes:
        item: (n,) numbers of items, from 0.
        category: (n,) of the data set.
        source: (n,) the data set.
        gold: (n,) FIRST, SECOND or TIE.
        winner: (n,) the same, or UNREAD.
        log_probs: (n, 3) of first, second, tie, both orders reconciled, at the arm's temperature;
            even where unread.
        orders: (n, 2, 3) at temperature 1, likewise.
        mass: (n, 2) of both orders.
        lengths: (n, 2) characters of both responses.
    """

    item: Ints
    category: Names
    source: Names
    gold: Ints
    winner: Ints
    log_probs: Floats
    orders: Floats
    mass: Floats
    lengths: Ints

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def hits(self) -> Floats:
        """(n,) 1 where the winner is gold's."""
        return np.asarray(self.winner == self.gold, dtype=np.float64)

    @property
    def readable(self) -> Bools:
        """(n,) whether both orders were read."""
        return np.asarray(self.winner != UNREAD, dtype=bool)


@dataclass(frozen=True, slots=True)
class ScoreColumns:
    """One arm on n scores; levels of any rubric are told on 1 to 10.

    Attributes:
        item: (n,) numbers of items, from 0.
        category: (n,) of the data set.
        source: (n,) the data set.
        model: (n,) who wrote the response; may be empty.
        gold: (n,) scores.
        score: (n,) expected scores; NaN where unread.
        level: (n,) most likely levels, rounded to whole ones; 0 where unread.
        confidence: (n,) probability of that level; NaN where unread.
        log_probs: (n,) of each row's own levels, at temperature 1; None where unread.
        mass: (n,) before normalising.
    """

    item: Ints
    category: Names
    source: Names
    model: Names
    gold: Floats
    score: Floats
    level: Ints
    confidence: Floats
    log_probs: tuple[Floats | None, ...]
    mass: Floats

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def readable(self) -> Bools:
        """(n,) whether a score was read."""
        return np.asarray(self.level > 0, dtype=bool)


def pair_columns(
    rows: Sequence[PairRow],
    judged: Mapping[str, Judged],
    settings: Settings,
    sources: Mapping[str, str] | None = None,
) -> PairColumns:
    """Columns of pairs, all of which were judged; `sources` names data sets by keys of rows."""
    found = [judged[row_digest(row)] for row in rows]
    even = (float(-np.log(len(WINNERS))),) * len(WINNERS)
    read = np.array([one.readable for one in found], dtype=bool)
    orders = np.array(
        [[order if one.readable else even for order in one.log_probs] for one in found],
        dtype=np.float64,
    ).reshape(-1, 2, len(WINNERS))
    log_probs = log_softmax(orders.mean(axis=1), settings.pairwise_temperature)
    return PairColumns(
        item=_items(rows),
        category=np.array([row.category for row in rows], dtype=np.str_),
        source=np.array([(sources or {}).get(row.key, "") for row in rows], dtype=np.str_),
        gold=_ints([WINNERS.index(row.gold) for row in rows]),
        winner=np.where(read, winners(log_probs, settings.tie_margin), UNREAD).astype(np.int64),
        log_probs=log_probs,
        orders=orders,
        mass=np.array([one.mass for one in found], dtype=np.float64).reshape(-1, 2),
        lengths=_ints([[len(text) for text in row.responses] for row in rows]).reshape(-1, 2),
    )


def score_columns(
    rows: Sequence[ScoreRow],
    judged: Mapping[str, Judged],
    settings: Settings,
    sources: Mapping[str, str] | None = None,
) -> ScoreColumns:
    """Columns of scores, all of which were judged; `sources` as for `pair_columns`."""
    found = [judged[row_digest(row)] for row in rows]
    scores, levels, confidences = [], [], []
    log_probs: list[Floats | None] = []
    for row, one in zip(rows, found, strict=True):
        told = _level_probs(one, settings)
        if told is None:
            scores.append(np.nan)
            levels.append(0)
            confidences.append(np.nan)
            log_probs.append(None)
            continue
        probabilities = np.exp(told)
        scores.append(on_ten(float(probabilities @ np.array(row.rubric.range)), row))
        best = row.rubric.low + int(told.argmax())
        levels.append(int(np.floor(on_ten(best, row) + 0.5)))
        confidences.append(float(probabilities.max()))
        log_probs.append(np.array(one.log_probs[0], dtype=np.float64))
    return ScoreColumns(
        item=_items(rows),
        category=np.array([row.category for row in rows], dtype=np.str_),
        source=np.array([(sources or {}).get(row.key, "") for row in rows], dtype=np.str_),
        model=np.array([row.models[0] if row.models else "" for row in rows], dtype=np.str_),
        gold=np.array([on_ten(row.gold, row) for row in rows], dtype=np.float64),
        score=np.array(scores, dtype=np.float64),
        level=_ints(levels),
        confidence=np.array(confidences, dtype=np.float64),
        log_probs=tuple(log_probs),
        mass=np.array([one.mass[0] for one in found], dtype=np.float64),
    )


def on_ten(value: float, row: ScoreRow) -> float:
    """A score of a row's rubric on the levels 1 to 10."""
    low, high = row.rubric.low, row.rubric.high
    return 1 + (N_LEVELS - 1) * (value - low) / (high - low)


def _level_probs(one: Judged, settings: Settings) -> Floats | None:
    if not one.readable:
        return None
    return log_softmax(np.array(one.log_probs[0]), settings.pointwise_temperature)


def _items(rows: Sequence[PairRow] | Sequence[ScoreRow]) -> Ints:
    return renumbered(np.array([row.item or row.key for row in rows], dtype=np.str_))


def _ints(values: Sequence[object]) -> Ints:
    return np.array(values, dtype=np.int64)
