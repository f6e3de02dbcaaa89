"""Judges a benchmark with a critic, and appends replies; an interrupted run goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from edgecritic import Critic, Preference
from edgecritic_bench.judge import describe_run, drop_torn_line
from edgecritic_bench.protocols.replies import Reply, Shown, read_replies
from edgecritic_bench.protocols.rows import AnyRow, OrderRow, PairRow, ScoreRow
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.records import WINNERS


def judge_rows(
    critic: Critic, rows: Sequence[AnyRow], out: Path, run: Provenance, *, scored: bool = False
) -> Iterator[Reply]:
    """Judge rows; the replies to a row are on disk before they are yielded.

    Args:
        critic: judges.
        rows: of a benchmark.
        out: file of replies, made or gone on with.
        run: this run, kept beside the replies.
        scored: score the responses of a pair one by one as well, for benchmarks of rewards.

    Raises:
        InputError: `out` holds verdicts of another critic.
    """
    describe_run(critic, {"scored": scored}, out, run)
    drop_torn_line(out)
    done = {reply.key for reply in read_replies(out)} if out.exists() else set()
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8", newline="\n") as file:
        for row in rows:
            if row.key in done:
                continue
            replies = _judged(critic, row, scored)
            # One write, so that no row is left with half of its replies.
            file.write("".join(reply.to_line() + "\n" for reply in replies))
            file.flush()
            yield from replies


def _judged(critic: Critic, row: AnyRow, scored: bool) -> list[Reply]:
    images = list(row.images) or None
    if isinstance(row, ScoreRow):
        verdict = critic.score(
            images,
            row.question,
            row.response,
            rubric=row.rubric,
            reference=row.reference,
            rationale=False,
        )
        return [Reply(row.key, level=verdict.score)]
    if isinstance(row, OrderRow):
        ranking = critic.rank(images, row.question, list(row.responses))
        return [Reply(row.key, order=ranking.order or None)]
    preference = critic.compare(
        images, row.question, *row.responses, rubric=row.rubric, rationale=False
    )
    replies = _told(row, preference)
    if scored:
        replies.append(_rewarded(critic, row))
    return replies


def _told(row: PairRow, preference: Preference) -> list[Reply]:
    """Both orders, and what they come to."""
    replies = []
    read = {order.shown_first: order for order in preference.orders}
    orders: tuple[tuple[Shown, Literal["first", "second"]], ...]
    orders = (("given", "first"), ("swapped", "second"))
    for shown, first in orders:
        order = read.get(first)
        if order is None:
            replies.append(Reply(row.key, shown))
        else:
            probabilities = tuple(order.probabilities[winner] for winner in WINNERS)
            replies.append(Reply(row.key, shown, winner=order.winner, probabilities=probabilities))
    both = preference.probabilities
    replies.append(
        Reply(
            row.key,
            "both",
            winner=preference.winner,
            probabilities=tuple(both[winner] for winner in WINNERS) if both else None,
        )
    )
    return replies


def _rewarded(critic: Critic, row: PairRow) -> Reply:
    """The scores of both responses; without rewards where one could not be read."""
    images = list(row.images) or None
    ranking = critic.rank(
        images, row.question, list(row.responses), method="pointwise", rubric=row.rubric
    )
    first, second = ranking.rewards
    rewards = None if first is None or second is None else (first, second)
    return Reply(row.key, rewards=rewards)
