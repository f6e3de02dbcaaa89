"""Rows on which arms disagree most, with their pictures and reasons, for people to look at."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
_SIDE = 256
"""Pixels of a thumbnail's longer side."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A row on which arms disagree.

    Attributes:
        row: what was asked.
        said: by arm its verdict and the probability of that, or of a score the score alone.
        explaining: arms whose reasons are asked for: the reference, and who is farthest from it.
    """

    row: PairRow | ScoreRow
    said: Mapping[str, tuple[str | float | None, float | None]]
    explaining: tuple[str, ...]


def disagreements(run: Run, arms: Sequence[JudgedArm]) -> list[Disagreement]:
    """The rows with the greatest disagreement, flipped winners first, few of one category."""
    rows = [row for row in run.rows.sample if row_digest(row) in arms[0].judged]
    pairs = [row for row in rows if isinstance(row, PairRow)]
    scores = [row for row in rows if isinstance(row, ScoreRow)]
    found: list[Disagreement] = []
    if pairs:
        probabilities = np.stack([np.exp(arm.pairs.log_probs) for arm in arms])
        codes = np.stack([arm.pairs.winner for arm in arms])
        gaps = np.abs(probabilities - probabilities[0]).sum(axis=2) / 2
        flips = codes != codes[0]
        weight = (flips * (1 + gaps)).sum(axis=0)
        for index in _spread(weight, [row.category for row in pairs], N_PAIRS):
            said = {
                arm.arm.name: (
                    None if codes[k, index] == UNREAD else WINNERS[codes[k, index]],
                    float(probabilities[k, index].max()),
                )
                for k, arm in enumerate(arms)
            }
            farthest = int((flips[:, index] * (1 + gaps[:, index])).argmax())
            explaining = arms[0].arm.name, arms[farthest].arm.name
            found.append(Disagreement(pairs[index], said, explaining))
    if scores:
        told = np.stack([arm.scores.score for arm in arms])
        moved = np.nan_to_num(np.abs(told - told[0]))
        for index in _spread(moved.max(axis=0), [row.category for row in scores], N_SCORES):
            scored = {arm.arm.name: (float(told[k, index]), None) for k, arm in enumerate(arms)}
            farthest = int(moved[:, index].argmax())
            explaining = arms[0].arm.name, arms[farthest].arm.name
            found.append(Disagreement(scores[index], scored, explaining))
    return found


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


def add_reasons(run: Run, found: Sequence[Disagreement]) -> dict[tuple[str, str], str]:
    """Reasons by arm and digest of a row; those that are not there yet are asked for."""
    wanted: dict[str, list[str]] = {}
    there = _reasons(run)
    for one in found:
        for name in dict.fromkeys(one.explaining):
            if (name, row_digest(one.row)) not in there:
                wanted.setdefault(name, []).append(one.row.key)
    if wanted:
        run.explain(wanted)
        there = _reasons(run)
    return there


def _reasons(run: Run) -> dict[tuple[str, str], str]:
    found = {}
    for arm in run.arms:
        path = ArmFiles.of(run.folder, arm).reasons
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            entry = json.loads(line)
            found[arm.name, entry["digest"]] = entry["reason"] or ""
    return found


def sample_dicts(
    found: Sequence[Disagreement], reasons: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
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
                name: reasons[name, row_digest(one.row)]
                for name in dict.fromkeys(one.explaining)
                if (name, row_digest(one.row)) in reasons
            },
        }
        for one in found
    ]


def thumbnail(image: Image) -> str:
    """A small copy of a picture as a data URL."""
    small = opened(image)
    small.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
