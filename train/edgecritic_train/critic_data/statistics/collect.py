"""Counts over rows, in one pass and little memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecritic.prompts import Setting
from edgecritic_train.critic_data.rows import CriticRow
from edgecritic_train.critic_data.validation.facts import image_keys

PLACES = 10
"""Into how many equal parts a scale is cut, so that different scales can be drawn together."""


@dataclass(slots=True)
class Statistics:
    """Counts of a set of rows.

    Attributes:
        rows: by setting.
        sources: by source and setting.
        splits: by split.
        judges: by who gave the verdict.
        winners: of pairwise rows.
        levels: by scale (``1-10``) and level.
        places: pointwise verdicts by tenth of their scale, 0 the lowest.
        wordings: by setting and number.
        words: lengths in words of questions, responses and reasons, each by how often it occurs;
            a row without a reason has none to count.
        images: how many pictures a row has.
        pictures: distinct ones.
        with_reference: rows that show a right answer.
        with_criteria: rows that name criteria.
    """

    rows: Counter[Setting] = field(default_factory=Counter)
    sources: Counter[tuple[str, Setting]] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    judges: Counter[str] = field(default_factory=Counter)
    winners: Counter[str] = field(default_factory=Counter)
    levels: dict[str, Counter[int]] = field(default_factory=dict)
    places: Counter[int] = field(default_factory=Counter)
    wordings: Counter[tuple[Setting, int]] = field(default_factory=Counter)
    words: dict[str, Counter[int]] = field(
        default_factory=lambda: {name: Counter() for name in ("question", "response", "reason")}
    )
    images: Counter[int] = field(default_factory=Counter)
    pictures: set[str] = field(default_factory=set)
    with_reference: int = 0
    with_criteria: int = 0

    def add(self, row: CriticRow) -> None:
        """Count a row."""
        self.rows[row.setting] += 1
        self.sources[row.source or "(no source)", row.setting] += 1
        self.splits[row.split] += 1
        self.judges[row.judge or "(unknown)"] += 1
        self.wordings[row.setting, row.wording] += 1
        self.images[len(row.images)] += 1
        self.pictures.update(image_keys(row))
        self.with_reference += bool(row.reference)
        self.with_criteria += bool(row.rubric.criteria)
        self.words["question"][len(row.question.split())] += 1
        if row.reason.strip():
            self.words["reason"][len(row.reason.split())] += 1
        for response in row.responses:
            self.words["response"][len(response.split())] += 1
        if isinstance(row.verdict, str):
            self.winners[row.verdict] += 1
        else:
            low, high = row.rubric.low, row.rubric.high
            self.levels.setdefault(f"{low}-{high}", Counter())[row.verdict] += 1
            # The highest level belongs to the highest tenth.
            share = (row.verdict - low) / (high - low)
            self.places[min(PLACES - 1, int(share * PLACES))] += 1

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        sources: dict[str, dict[str, int]] = {}
        for (source, setting), count in sorted(self.sources.items()):
            sources.setdefault(source, {})[setting] = count
        return {
            "rows": self.rows.total(),
            "settings": dict(sorted(self.rows.items())),
            "sources": sources,
            "splits": dict(sorted(self.splits.items())),
            "judges": dict(sorted(self.judges.items())),
            "winners": dict(sorted(self.winners.items())),
            "scales": {
                scale: {str(level): levels[level] for level in sorted(levels)}
                for scale, levels in sorted(self.levels.items())
            },
            "scores_by_tenth_of_scale": [self.places[k] for k in range(PLACES)],
            "wordings": {
                setting: len({n for s, n in self.wordings if s == setting}) for setting in self.rows
            },
            "words": {name: _summary(counts) for name, counts in self.words.items()},
            "images_per_row": {str(n): self.images[n] for n in sorted(self.images)},
            "distinct_pictures": len(self.pictures),
            "with_reference": self.with_reference,
            "with_criteria": self.with_criteria,
        }


def collect(rows: Iterable[CriticRow]) -> Statistics:
    """Count all rows."""
    statistics = Statistics()
    for row in rows:
        statistics.add(row)
    return statistics


def _summary(counts: Counter[int]) -> dict[str, Any]:
    if not counts:
        return {"count": 0}
    lengths = np.array(sorted(counts))
    numbers = np.array([counts[length] for length in lengths])
    below = np.cumsum(numbers) / numbers.sum()
    return {
        "count": int(numbers.sum()),
        "mean": round(float((lengths * numbers).sum() / numbers.sum()), 2),
        **{
            f"{share:.0%}": int(lengths[np.searchsorted(below, share)])
            for share in (0.05, 0.5, 0.95)
        },
        "longest": int(lengths[-1]),
        "histogram": {str(length): counts[int(length)] for length in lengths},
    }
