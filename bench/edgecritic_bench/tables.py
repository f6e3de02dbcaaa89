"""Records as columns of numpy arrays: one table of pairs, one of scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic_bench.records import N_LEVELS, WINNERS, PairwiseRecord, PointwiseRecord, Record

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
Names: TypeAlias = NDArray[np.str_]

FIRST, SECOND, TIE = range(3)
LEVELS = np.arange(1, N_LEVELS + 1, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns that both settings have; n rows, all of them readable.

    Attributes:
        item: (n,) ids; rows of one item are not independent.
        kind: (n,) question types.
        split: (n,) splits.
        side: (n,) 0 or 1.
        blank: (n,) True where the picture was plain grey.
    """

    item: Names
    kind: Names
    split: Names
    side: Ints
    blank: Bools

    def __len__(self) -> int:
        return len(self.item)

    def where(self, rows: Bools) -> Self:
        """The rows where a mask is True."""
        return type(self)(*(getattr(self, column.name)[rows] for column in fields(self)))

    @property
    def clusters(self) -> Ints:
        """(n,) number of each row's item, from 0."""
        return np.asarray(np.unique(self.item, return_inverse=True)[1], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class PairTable(Table):
    """Pairwise records.

    Attributes:
        first: (n,) index of the response called first.
        second: (n,) index of the other.
        gold: (n,) FIRST, SECOND or TIE.
        decided: (n,) the item's other picture turns the preference round.
        orders: (n, 2, 3) log-probs by order and outcome, in the labels of the given order.
    """

    first: Ints
    second: Ints
    gold: Ints
    decided: Bools
    orders: Floats


@dataclass(frozen=True, slots=True)
class ScoreTable(Table):
    """Pointwise records.

    Attributes:
        response: (n,) index of the response.
        family: (n,) how it was made, on this picture.
        gold: (n,) level 1 to 10.
        log_probs: (n, 10) of levels 1 to 10.
    """

    response: Ints
    family: Names
    gold: Ints
    log_probs: Floats


def pair_table(records: Iterable[Record]) -> PairTable:
    """The readable pairwise records."""
    rows = [r for r in records if isinstance(r, PairwiseRecord) and r.readable]
    return PairTable(
        *_common(rows),
        first=_ints([r.first for r in rows]),
        second=_ints([r.second for r in rows]),
        gold=_ints([WINNERS.index(r.winner) for r in rows]),
        decided=np.array([r.image_decided for r in rows], dtype=bool),
        orders=np.array([r.orders for r in rows], dtype=np.float64).reshape(-1, 2, len(WINNERS)),
    )


def score_table(records: Iterable[Record]) -> ScoreTable:
    """The readable pointwise records."""
    rows = [r for r in records if isinstance(r, PointwiseRecord) and r.readable]
    return ScoreTable(
        *_common(rows),
        response=_ints([r.response for r in rows]),
        family=np.array([r.family for r in rows], dtype=np.str_),
        gold=_ints([r.gold for r in rows]),
        log_probs=np.array([r.log_probs for r in rows], dtype=np.float64).reshape(-1, N_LEVELS),
    )


def _common(rows: Sequence[Record]) -> tuple[Names, Names, Names, Ints, Bools]:
    places = [row.place for row in rows]
    return (
        np.array([place.item for place in places], dtype=np.str_),
        np.array([place.kind for place in places], dtype=np.str_),
        np.array([place.split for place in places], dtype=np.str_),
        _ints([place.side for place in places]),
        np.array([place.condition == "blank" for place in places], dtype=bool),
    )


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def log_softmax(scores: Floats, temperature: float = 1.0) -> Floats:
    """Rows of log-probs divided by a temperature and normalised again."""
    scaled = scores / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    return np.asarray(scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True)), np.float64)


def reconciled(pairs: PairTable, temperature: float = 1.0) -> Floats:
    """(n, 3) log-probs: the normalised geometric mean of both orders, as the runtime has it.

    The temperature may as well divide the mean, because the mean is linear in log-space.
    """
    return log_softmax(pairs.orders.mean(axis=1), temperature)


def winners(log_probs: Floats, tie_margin: float = 0.0) -> Ints:
    """(n,) predicted outcomes by the runtime's rule.

    Args:
        log_probs: (n, 3) of first, second, tie.
        tie_margin: nats; a lead of first over second below it is a tie, and so is none.
    """
    first, second, tie = log_probs[:, FIRST], log_probs[:, SECOND], log_probs[:, TIE]
    lead = first - second
    tied = (tie >= np.maximum(first, second)) | (lead == 0) | (np.abs(lead) < tie_margin)
    return np.where(tied, TIE, np.where(lead > 0, FIRST, SECOND)).astype(np.int64)


def expected_levels(log_probs: Floats, temperature: float = 1.0) -> Floats:
    """(n,) probability-weighted levels, 1 to 10, of (n, 10) log-probs."""
    return np.asarray(np.exp(log_softmax(log_probs, temperature)) @ LEVELS, dtype=np.float64)
