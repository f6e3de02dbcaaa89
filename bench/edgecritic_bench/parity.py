"""Two engines on the same rows: how far their log-probs are apart, and which verdicts flip."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgecritic import InputError
from edgecritic_bench.records import (
    WINNERS,
    LogProbs,
    PairwiseRecord,
    PointwiseRecord,
    Record,
)
from edgecritic_bench.statistics.divergence import verdict_kl
from edgecritic_bench.statistics.equivalence import ParityClaim, claim_share_parity
from edgecritic_bench.statistics.intervals import NOTHING, Estimate, renumbered, share, wilson
from edgecritic_bench.statistics.paired import Flips
from edgecritic_bench.tables import (
    LEVELS,
    TIE,
    Floats,
    Ints,
    PairTable,
    pair_table,
    reconciled,
    winners,
)

LIKELY = 1e-3
"""Outcomes count that at least one engine gives more than this probability."""
NOTABLE = 0.05
"""Nats; differences above it want an explanation."""
QUANTILES = {"median": 50.0, "p95": 95.0, "p99": 99.0}
MARGIN = 0.02
"""Difference of two shares within which engines are taken for equivalent, by default."""
_N_WORST = 10


@dataclass(frozen=True, slots=True)
class Differences:
    """Absolute differences of log-probs, in nats.

    Attributes:
        n: outcomes compared.
        mean: of them all.
        median: likewise.
        p95: likewise.
        p99: likewise.
        max: likewise.
        notable: share above `NOTABLE`.
    """

    n: int
    mean: float
    median: float
    p95: float
    p99: float
    max: float
    notable: float

    @classmethod
    def of(cls, values: Floats) -> Differences:
        """Summarise (n,) absolute differences, n >= 1."""
        quantiles = {
            name: float(np.percentile(values, quantile)) for name, quantile in QUANTILES.items()
        }
        return cls(
            n=len(values),
            mean=float(values.mean()),
            max=float(values.max()),
            notable=float((values > NOTABLE).mean()),
            **quantiles,
        )


@dataclass(frozen=True, slots=True)
class WorstRow:
    """A verdict with a great difference.

    Attributes:
        row: which one, for people.
        difference: nats, the greatest among its likely outcomes.
        reference: probabilities of the reference.
        other: probabilities of the other engine.
    """

    row: str
    difference: float
    reference: tuple[float, ...]
    other: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Parity:
    """Everything that was compared.

    Attributes:
        rows: verdicts that both engines made, each order of a pair by itself.
        unread: verdicts that only one of them could read.
        missing: records that only one of them has.
        pairwise: differences of pairs; None without any.
        pointwise: differences of scores; None without any.
        same_winner: share of pairs whose winner is the same, both orders reconciled.
        same_level: share of responses whose likeliest level is the same.
        score_difference: greatest absolute difference of expected scores, levels.
        pairwise_kl: mean divergence of the reference's verdicts on pairs from the other's, nats,
            with everything that is no verdict as one more outcome.
        pointwise_kl: of scores, likewise.
        flips: of pairs decided by the picture.
        claim: whether the other engine may be called equivalent on these pairs; None with fewer
            than two items.
        worst: rows of the greatest differences, the worst first.
    """

    rows: int
    unread: int
    missing: int
    pairwise: Differences | None
    pointwise: Differences | None
    same_winner: Estimate
    same_level: Estimate
    score_difference: float
    pairwise_kl: Estimate
    pointwise_kl: Estimate
    flips: Flips
    claim: ParityClaim | None
    worst: tuple[WorstRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def compare(reference: Sequence[Record], other: Sequence[Record], margin: float = MARGIN) -> Parity:
    """Compare two engines row by row.

    Args:
        reference: say, full precision in torch.
        other: say, quantized in llama.cpp.
        margin: of the claim of equivalence, in shares.

    Raises:
        InputError: they have no verdict in common.
        MissingExtraError: scipy is not installed.
    """
    by_key = {record.key: record for record in other}
    both = [(one, by_key[one.key]) for one in reference if one.key in by_key]
    known = [(one, two) for one, two in both if one.readable and two.readable]
    if not known:
        raise InputError(
            "the two files have no readable verdict in common",
            "judge the same evaluation set with both engines",
        )
    verdicts = [verdict for one, two in known for verdict in _verdicts(one, two)]
    tables = tuple(pair_table([pair[side] for pair in known]) for side in (0, 1))
    scores = [
        (one, two)
        for one, two in known
        if isinstance(one, PointwiseRecord) and isinstance(two, PointwiseRecord)
    ]
    right, still, items = _hits(*tables)
    return Parity(
        rows=len(verdicts),
        unread=sum(one.readable != two.readable for one, two in both),
        missing=len(reference) + len(other) - 2 * len(both),
        pairwise=_differences(verdicts, len(WINNERS)),
        pointwise=_differences(verdicts, len(LEVELS)),
        same_winner=_same_winner(*tables),
        same_level=_same_level(scores),
        score_difference=_score_difference(scores),
        pairwise_kl=_kl(verdicts, len(WINNERS)),
        pointwise_kl=_kl(verdicts, len(LEVELS)),
        flips=Flips.of(right, still),
        claim=(
            claim_share_parity(right, still, items, margin) if len(np.unique(items)) > 1 else None
        ),
        worst=_worst(verdicts),
    )


@dataclass(frozen=True, slots=True)
class _Verdict:
    """One distribution as both engines have it, with the mass behind it."""

    row: str
    item: str
    reference: Floats
    other: Floats
    masses: tuple[float, float]

    @property
    def differences(self) -> Floats:
        """Absolute differences of the likely outcomes, nats."""
        likely = np.maximum(self.reference, self.other) > math.log(LIKELY)
        return np.asarray(np.abs(self.reference - self.other)[likely], dtype=np.float64)


def _verdicts(one: Record, two: Record) -> Iterator[_Verdict]:
    place = one.place
    name = f"{place.item} {'AB'[place.side]} {place.condition}"
    if isinstance(one, PairwiseRecord) and isinstance(two, PairwiseRecord):
        orders = zip(("given", "swapped"), one.orders, two.orders, strict=True)
        masses = zip(one.mass, two.mass, strict=True)
        for (order, mine, theirs), mass in zip(orders, masses, strict=True):
            row = f"{name}, {one.first} against {one.second}, {order} order"
            yield _Verdict(row, place.item, _array(mine), _array(theirs), mass)
    elif isinstance(one, PointwiseRecord) and isinstance(two, PointwiseRecord):
        row = f"{name}, response {one.response}"
        log_probs = _array(one.log_probs), _array(two.log_probs)
        yield _Verdict(row, place.item, *log_probs, (one.mass, two.mass))


def _array(values: LogProbs | None) -> Floats:
    return np.array(values, dtype=np.float64)


def _differences(verdicts: Sequence[_Verdict], n_outcomes: int) -> Differences | None:
    found = [v.differences for v in verdicts if len(v.reference) == n_outcomes]
    return Differences.of(np.concatenate(found)) if found else None


def _kl(verdicts: Sequence[_Verdict], n_outcomes: int) -> Estimate:
    found = [v for v in verdicts if len(v.reference) == n_outcomes]
    if not found:
        return NOTHING
    masses = np.array([v.masses for v in found])
    return verdict_kl(
        np.stack([v.reference for v in found]),
        np.stack([v.other for v in found]),
        (masses[:, 0], masses[:, 1]),
        renumbered(np.array([v.item for v in found])),
    )


def _same_winner(one: PairTable, two: PairTable) -> Estimate:
    same = winners(reconciled(one)) == winners(reconciled(two))
    return share(same * 1.0, one.clusters)


def _same_level(scores: Sequence[tuple[PointwiseRecord, PointwiseRecord]]) -> Estimate:
    same = [_array(a.log_probs).argmax() == _array(b.log_probs).argmax() for a, b in scores]
    _, clusters = np.unique([a.place.item for a, _ in scores], return_inverse=True)
    return share(np.array(same, dtype=np.float64), np.asarray(clusters, dtype=np.int64))


def _score_difference(scores: Sequence[tuple[PointwiseRecord, PointwiseRecord]]) -> float:
    expected = [[float(np.exp(_array(r.log_probs)) @ LEVELS) for r in pair] for pair in scores]
    return max((abs(a - b) for a, b in expected), default=float("nan"))


def _hits(one: PairTable, two: PairTable) -> tuple[Floats, Floats, Ints]:
    """Hits of both engines on pairs decided by the picture, and their item numbers."""
    rows = one.decided & (one.gold != TIE) & ~one.blank
    parts = one.where(rows), two.where(rows)
    right, still = ((winners(reconciled(part)) == part.gold) * 1.0 for part in parts)
    return right, still, parts[0].clusters


def _worst(verdicts: Sequence[_Verdict]) -> tuple[WorstRow, ...]:
    rows = [
        WorstRow(
            v.row,
            float(v.differences.max()),
            tuple(np.exp(v.reference).tolist()),
            tuple(np.exp(v.other).tolist()),
        )
        for v in verdicts
    ]
    return tuple(sorted(rows, key=lambda row: -row.difference)[:_N_WORST])


def largest_unseen(n: int) -> float:
    """The greatest share of flips that n rows without any flip leave possible, at 95%."""
    return wilson(0, n)[1]
