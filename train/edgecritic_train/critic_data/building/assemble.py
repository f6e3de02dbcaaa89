"""From a ledger's answers to rows: what cannot be trusted is dropped and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

from edgecritic_train.critic_data.building.ledger import Entry, Ledger
from edgecritic_train.critic_data.building.plan import Ask
from edgecritic_train.critic_data.rows import SWAPPED, CriticRow


def assemble(
    asks: Iterable[tuple[str, Ask]], ledger: Ledger, judge: str, dropped: Counter[str]
) -> Iterator[CriticRow]:
    """The rows that the answers make, in the order of the asks.

    A pair that was shown in both orders makes two rows if the teacher preferred the same response
    (or neither) both times. If it preferred a place, neither row is kept: it would teach the place.

    Args:
        asks: key and ask; the two asks of a pair follow each other.
        ledger: holds the answers.
        judge: who gave the verdicts, for the rows.
        dropped: is counted up, by reason.
    """
    for _, shown in groupby(asks, key=lambda keyed: keyed[1].pair or keyed[1].id):
        told = [(ask, ledger.get(key)) for key, ask in shown]
        usable = [(ask, entry) for ask, entry in told if entry is not None and not _why(entry)]
        if len(usable) < len(told):
            dropped.update(_why(entry) or "the other order is missing" for _, entry in told)
        elif len(usable) == 2 and _contradict(usable[0][1], usable[1][1]):
            dropped["the orders contradict each other"] += 2
        else:
            for ask, entry in usable:
                yield _row(ask, entry, judge)


def _why(entry: Entry | None) -> str:
    if entry is None:
        return "not asked"
    if entry.outcome == "unparsed":
        return "no verdict or no reason could be read"
    if entry.outcome == "refused":
        return "the question could not be put"
    return ""


def _contradict(given: Entry, swapped: Entry) -> bool:
    return not isinstance(given.verdict, str) or SWAPPED[given.verdict] != swapped.verdict


def _row(ask: Ask, entry: Entry, judge: str) -> CriticRow:
    if entry.verdict is None:
        raise ValueError(f"{entry.key} has no verdict")  # `Ledger` refuses such entries
    return ask.row(entry.verdict, entry.reason, ask.case.judge or judge)
