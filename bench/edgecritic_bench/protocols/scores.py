"""What a scorer returns, and how shares of rows become it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar, get_args

import numpy as np

from edgecritic import InputError
from edgecritic_bench.protocols.replies import Reply
from edgecritic_bench.protocols.rows import Row
from edgecritic_bench.statistics.intervals import Estimate, of_sums, renumbered, share
from edgecritic_bench.tables import Floats, Ints

Protocol: TypeAlias = Literal["official", "lmms-eval", "vlmevalkit", "both-orders"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
AnyRow = TypeVar("AnyRow", bound=Row)


@dataclass(frozen=True, slots=True)
class Hit:
    """What one row adds to the headline.

    Attributes:
        key: of the row.
        item: of the row.
        value: 1 right, 0 wrong; other numbers where the headline is no share.
    """

    key: str
    item: str
    value: float


@dataclass(frozen=True, slots=True)
class Score:
    """A benchmark's result for one judge.

    Attributes:
        protocol: whose rules.
        rules: these rules in a sentence, printed beside every number.
        headline: name of the metric that the benchmark is quoted by.
        metrics: by name; the value is the protocol's own to the last digit, the interval is ours.
        rows: of the benchmark.
        unread: rows whose verdict could not be read, whatever the protocol makes of them.
        hits: row by row, for paired comparisons; rows that the protocol drops are not in it.
    """

    protocol: Protocol
    rules: str
    headline: str
    metrics: Mapping[str, Estimate]
    rows: int
    unread: int
    hits: tuple[Hit, ...] = ()


def by_row(
    rows: Sequence[AnyRow], replies: Iterable[Reply], partial: bool = False
) -> list[tuple[AnyRow, list[Reply]]]:
    """Each row with its replies, in the rows' order.

    Args:
        rows: of a benchmark.
        replies: of one judge.
        partial: leave out rows without a reply, rather than refuse.

    Raises:
        InputError: a reply is of no row, or a row has none.
    """
    found: dict[str, list[Reply]] = {row.key: [] for row in rows}
    for reply in replies:
        if reply.key not in found:
            raise InputError(
                f"there is a verdict on {reply.key!r}, which is no row of this benchmark",
                "name the data that was judged",
            )
        found[reply.key].append(reply)
    missing = [key for key, given in found.items() if not given]
    if missing and not partial:
        raise InputError(
            f"{len(missing)} of {len(rows)} rows have no verdict; the first is {missing[0]!r}",
            "judge them, or score the rest alone with --partial",
        )
    kept = [(row, found[row.key]) for row in rows if found[row.key]]
    if not kept:
        raise InputError("no row has a verdict", "judge some first, with: edgecritic bench run")
    return kept


def clusters(rows: Iterable[Row | Hit]) -> Ints:
    """(n,) item numbers."""
    return renumbered(np.array([row.item or row.key for row in rows], dtype=np.str_))


def shares(hits: Sequence[Hit], categories: Sequence[str]) -> dict[str, Estimate]:
    """The share of each category, by its name.

    Args:
        hits: (n,) rows.
        categories: (n,) theirs.
    """
    values, names = np.array([hit.value for hit in hits]), np.array(categories)
    items = clusters(hits)
    return {
        str(name): share(values[names == name], renumbered(items[names == name]))
        for name in dict.fromkeys(categories)
    }


def overall(hits: Sequence[Hit]) -> Estimate:
    """The share of all rows."""
    return share(np.array([hit.value for hit in hits], dtype=np.float64), clusters(hits))


def macro(hits: Sequence[Hit], categories: Sequence[str]) -> Estimate:
    """The mean over categories of their shares; the interval resamples items, not categories.

    Args:
        hits: (n,) rows.
        categories: (n,) theirs; those without a row count nothing.
    """
    names = sorted(set(categories))
    column = np.array([names.index(name) for name in categories], dtype=np.int64)
    terms = np.zeros((len(hits), 2, len(names)))
    terms[np.arange(len(hits)), 1, column] = 1
    terms[np.arange(len(hits)), 0, column] = [hit.value for hit in hits]

    def statistic(sums: Floats) -> Floats:
        # A resample may miss a small category: then it is no mean over all of them.
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((sums[:, 0] / sums[:, 1]).mean(axis=1), dtype=np.float64)

    return of_sums(terms, statistic, clusters(hits))


def refuse_protocol(benchmark: str, protocol: str, known: Sequence[str]) -> InputError:
    """The error for a protocol that a benchmark has not."""
    return InputError(
        f"{benchmark} has no protocol {protocol!r}", f"known here are {', '.join(known)}"
    )
