"""Rows on which arms disagree most, with their pictures and reasons, for people to look at."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecritic_bench.protocols.rows import Image, PairRow, ScoreRow
from edgecritic_bench.quantization.columns import UNREAD
from edgecritic_bench.quantization.journal import row_digest
from edgecritic_bench.quantization.results import JudgedArm
from edgecritic_bench.quantization.run import Run
from edgecritic_bench.quantization.worker import ArmFiles
from edgecritic_bench.records import WINNERS
from edgecritic_bench.robustness.pictures import opened
from edgecritic_bench.tables import Floats

N_PAIRS, N_SCORES = 6, 4
MOST_REASONS = 6
"""Arms that explain one row beside the reference."""
_SIDE = 256
"""Pixels of a thumbnail's longer side."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A row on which arms disagree.

    Attributes:
        row: what was asked.
        said: by arm its verdict and the probability of that, or of a score the score alone.
        explaining: arms whose reasons are asked for: the reference, and those farthest from it.
    """

    row: PairRow | ScoreRow
    said: Mapping[str, tuple[str | float | None, float | None]]
    explaining: tuple[str, ...]


def disagreements(run: Run, arms: Sequence[JudgedArm]) -> list[Disagreement]:
    """The rows with the greatest disagreement, flipped winners first, few of one category."""
    rows = [row for row in run.rows.sample if row_digest(row) in arms[0].judged]
    pairs = [row for row in rows if isinstance(row, PairRow)]
    scores = [row for row in rows if isinstance(row, ScoreRow)]
    names = [arm.arm.name for arm in arms]
    found: list[Disagreement] = []
    if pairs:
        probabilities = np.stack([np.exp(arm.pairs.log_probs) for arm in arms])
        codes = np.stack([arm.pairs.winner for arm in arms])
        gaps = np.abs(probabilities - probabilities[0]).sum(axis=2) / 2
        flips = codes != codes[0]
        weight = flips * (1 + gaps)
        for index in _spread(weight.sum(axis=0), [row.category for row in pairs], N_PAIRS):
            said = {
                name: (
                    None if codes[k, index] == UNREAD else WINNERS[codes[k, index]],
                    float(probabilities[k, index].max()),
                )
                for k, name in enumerate(names)
            }
            found.append(Disagreement(pairs[index], said, _explaining(names, weight[:, index])))
    if scores:
        told = np.stack([arm.scores.score for arm in arms])
        moved = np.nan_to_num(np.abs(told - told[0]))
        for index in _spread(moved.max(axis=0), [row.category for row in scores], N_SCORES):
            scored = {name: (float(told[k, index]), None) for k, name in enumerate(names)}
            # A level is another verdict; where none is that far, the farthest explains itself.
            weight = moved[:, index] * (moved[:, index] >= min(1.0, moved[:, index].max()))
            found.append(Disagreement(scores[index], scored, _explaining(names, weight)))
    return found


def _explaining(names: Sequence[str], weight: Floats) -> tuple[str, ...]:
    """The reference, and the arms that disagree with it, the farthest first."""
    order = [int(k) for k in np.argsort(-weight, kind="stable") if weight[k] > 0]
    return (names[0], *(names[k] for k in order[:MOST_REASONS]))


def _spread(weight: Floats, categories: Sequence[str], n: int) -> list[int]:
    """Indices of the greatest weights above zero; two of one category if others are left."""
    order = [int(k) for k in np.argsort(-weight, kind="stable") if weight[k] > 0]
    chosen: list[int] = []
    for most in (2, len(order)):
        for index in order:
            same = sum(categories[k] == categories[index] for k in chosen)
            if len(chosen) < n and index not in chosen and same < most:
                chosen.append(index)
    return chosen


@dataclass(frozen=True, slots=True)
class Reasons:
    """Reasons of the rows that are shown.

    Attributes:
        given: by name of an arm and digest of a row what was said with the reason, and the reason,
            which is empty where the critic wrote none.
        asked: how many verdicts were to be explained.
        missing: by name of an arm why verdicts of its have no reason.
    """

    given: Mapping[tuple[str, str], tuple[object, str]]
    asked: int = 0
    missing: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Counts, JSON-ready."""
        return {"asked": self.asked, "given": len(self.given), "missing": dict(self.missing)}


def collect_reasons(run: Run, found: Sequence[Disagreement], *, ask: bool) -> Reasons:
    """Reasons of just the rows that are shown; an arm that gives none stops no report.

    Args:
        run: whose arms explain.
        found: the rows, and who explains which.
        ask: for those that are not there yet.
    """
    wanted = [(name, row_digest(one.row)) for one in found for name in one.explaining]
    left = _by_arm(set(wanted) - _reasons(run).keys())
    failed = run.explain(left) if ask and left else {}
    there = _reasons(run)
    given = {key: there[key] for key in wanted if key in there}
    why = "time was up" if ask else "they were not asked for"
    missing = {name: failed.get(name, why) for name in _by_arm(set(wanted) - given.keys())}
    return Reasons(given, len(wanted), missing)


def _by_arm(keys: Collection[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, digest in sorted(keys):
        found.setdefault(name, []).append(digest)
    return found


def _reasons(run: Run) -> dict[tuple[str, str], tuple[object, str]]:
    found: dict[tuple[str, str], tuple[object, str]] = {}
    for arm in run.arms:
        path = ArmFiles.of(run.folder, arm).reasons
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        # Behind the last line's end is what a process was writing when it was ended.
        for line in text[: text.rfind("\n") + 1].splitlines():
            entry = json.loads(line)
            found[arm.name, entry["digest"]] = entry["said"], entry["reason"] or ""
    return found


def sample_dicts(found: Sequence[Disagreement], reasons: Reasons) -> list[dict[str, Any]]:
    """JSON-ready samples, the picture as a data URL."""
    return [
        {
            "row": one.row.key,
            "category": one.row.category,
            "question": one.row.question,
            "responses": (
                list(one.row.responses) if isinstance(one.row, PairRow) else [one.row.response]
            ),
            "gold": one.row.gold,
            "pictures": [thumbnail(image) for image in one.row.images],
            "said": {name: list(told) for name, told in one.said.items()},
            "reasons": {
                name: _told(*reasons.given[name, row_digest(one.row)], one.said[name][0])
                for name in one.explaining
                if (name, row_digest(one.row)) in reasons.given
            },
        }
        for one in found
    ]


def _told(said: object, reason: str, verdict: object) -> str:
    """A reason; with another verdict than the one it should explain, that is told first."""
    if isinstance(said, int | float) and isinstance(verdict, int | float):
        return reason if abs(said - verdict) < 1 else f"(asked again: {said:.1f}) {reason}"
    return reason if said == verdict else f"(asked again: {said or 'unread'}) {reason}"


def thumbnail(image: Image) -> str:
    """A small copy of a picture as a data URL."""
    small = opened(image)
    small.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
