"""Rows in groups that are judged in one call, since their prompts begin alike."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from edgecritic import Critic, CriticError, InputError, Preference, Verdict
from edgecritic_bench.judge import orders_of, untempered
from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.quantization.journal import Judged, image_digest, row_digest
from edgecritic_bench.records import LogProbs, Setting

_MOST = 32
"""Rows in one group: what is shared is decoded once anyway, and little is lost by a kill."""
_DIGITS = 7


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one setting on the same pictures, with the same question and rubric."""

    rows: tuple[PairRow | ScoreRow, ...]

    def __len__(self) -> int:
        return len(self.rows)


def grouped(rows: Sequence[PairRow | ScoreRow]) -> list[Group]:
    """Groups of rows, those of one picture one behind the other."""
    by_picture: dict[object, dict[object, list[PairRow | ScoreRow]]] = {}
    for row in rows:
        pictures = tuple(image_digest(image) for image in row.images)
        rubric = (row.rubric.low, row.rubric.high, row.rubric.criteria, repr(row.rubric.levels))
        reference = row.reference if isinstance(row, ScoreRow) else None
        key = (type(row), row.question, reference, rubric)
        by_picture.setdefault(pictures, {}).setdefault(key, []).append(row)
    return [
        Group(tuple(alike[start : start + _MOST]))
        for groups in by_picture.values()
        for alike in groups.values()
        for start in range(0, len(alike), _MOST)
    ]


def shared_out(
    rows: Sequence[PairRow | ScoreRow], part: int, parts: int
) -> list[PairRow | ScoreRow]:
    """The rows that one of several processes judges; those of one picture stay together."""
    numbers: dict[object, int] = {}
    return [
        row
        for row in rows
        if numbers.setdefault(tuple(map(image_digest, row.images)), len(numbers)) % parts == part
    ]


def judge_group(critic: Critic, group: Group) -> Iterator[Judged]:
    """Judge a group; where it cannot be judged as a whole, row by row.

    A row that cannot be judged at all, since it is too long or its picture cannot be read, is
    unread, with the reason; all arms are asked the same, and the rest of the rows goes on.

    Raises:
        CriticError: the engine fails, at a row that the message names.
    """
    try:
        yield from _judged(critic, group)
    except CriticError:  # a group may also be too large for the memory where a row is not
        for row in group.rows:
            alone = Group((row,))
            try:
                yield from _judged(critic, alone)
            except InputError as error:
                yield replace(_blank(row), error=error.message)
            except CriticError as error:
                raise CriticError(f"{row.key}: {error.message}", error.hint) from error


def _blank(row: PairRow | ScoreRow) -> Judged:
    pairwise = isinstance(row, PairRow)
    n = 2 if pairwise else 1
    setting: Setting = "pairwise" if pairwise else "pointwise"
    return Judged(row_digest(row), row.key, setting, (None,) * n, (0.0,) * n)


def _judged(critic: Critic, group: Group) -> list[Judged]:
    begun = time.process_time()
    ask = _preferences if isinstance(group.rows[0], PairRow) else _verdicts
    found, image, verdict = ask(critic, group)
    # The wall clock tells picture and verdict apart; processor time is shared out by it.
    cpu = (time.process_time() - begun) * verdict / max(image + verdict, 1e-9)
    n = len(group)
    return [
        replace(
            judged,
            seconds=round(verdict / n, 6),
            cpu=round(cpu / n, 6),
            image_seconds=round(image, 6) if number == 0 else 0.0,
        )
        for number, judged in enumerate(found)
    ]


def _preferences(critic: Critic, group: Group) -> tuple[list[Judged], float, float]:
    first = group.rows[0]
    texts = [text for row in group.rows if isinstance(row, PairRow) for text in row.responses]
    ranking = critic.rank(
        list(first.images) or None,
        first.question,
        texts,
        rubric=first.rubric,
        pairs=[(2 * number, 2 * number + 1) for number in range(len(group))],
    )
    told = [preference for _, _, preference in ranking.preferences]
    found = [_pair(critic, row, p) for row, p in zip(group.rows, told, strict=True)]
    return found, ranking.timings.image, ranking.timings.verdict


def _pair(critic: Critic, row: PairRow | ScoreRow, preference: Preference) -> Judged:
    temperature = critic.profile.calibration.pairwise_temperature
    (given, mass), (swapped, other_mass) = orders_of(preference, temperature)
    return replace(
        _blank(row), log_probs=(_rounded(given), _rounded(swapped)), mass=(mass, other_mass)
    )


def _verdicts(critic: Critic, group: Group) -> tuple[list[Judged], float, float]:
    first = group.rows[0]
    assert isinstance(first, ScoreRow)  # noqa: S101 - a group has one kind of rows
    texts = [row.response for row in group.rows if isinstance(row, ScoreRow)]
    images = list(first.images) or None
    if len(texts) == 1:
        verdict = critic.score(
            images,
            first.question,
            texts[0],
            reference=first.reference,
            rubric=first.rubric,
            rationale=False,
        )
        timings = verdict.timings
        verdicts: Sequence[Verdict] = (verdict,)
    else:
        ranking = critic.rank(
            images,
            first.question,
            texts,
            method="pointwise",
            reference=first.reference,
            rubric=first.rubric,
        )
        timings, verdicts = ranking.timings, ranking.verdicts
    if len(verdicts) < len(texts):
        raise CriticError("the critic gave fewer verdicts than it was asked for", "")
    found = [_score(critic, row, v) for row, v in zip(group.rows, verdicts, strict=True)]
    return found, timings.image, timings.verdict


def _score(critic: Critic, row: PairRow | ScoreRow, verdict: Verdict) -> Judged:
    temperature = critic.profile.calibration.pointwise_temperature
    values = [verdict.probabilities.get(level) for level in row.rubric.range]
    log_probs = untempered(values, temperature) if verdict.probabilities else None
    return replace(_blank(row), log_probs=(_rounded(log_probs),), mass=(verdict.mass,))


def _rounded(log_probs: LogProbs | None) -> LogProbs | None:
    """What engines agree on at best; the digits behind it would be most of a journal."""
    return None if log_probs is None else tuple(round(value, _DIGITS) for value in log_probs)
