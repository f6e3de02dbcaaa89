"""How often manipulation wins with an arm, and by how much more than in full precision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgecritic_bench.protocols.replies import Reply
from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.quantization.columns import (
    UNREAD,
    Settings,
    pair_columns,
    score_columns,
)
from edgecritic_bench.quantization.journal import Judged, row_digest
from edgecritic_bench.records import WINNERS
from edgecritic_bench.robustness.attacks import CLEAN
from edgecritic_bench.robustness.outcome import FamilyOutcome, outcomes

MOST_CHANGE = 0.01
"""Share of win-flips by which a quantized arm should differ from full precision at most."""


def arm_outcomes(
    attacked: Sequence[PairRow | ScoreRow], judged: Mapping[str, Judged], settings: Settings
) -> dict[str, FamilyOutcome]:
    """What each family of manipulation achieved with one arm; empty without attacks.

    Args:
        attacked: rows with manipulations, each beside its clean self.
        judged: by the arm; rows that it has not judged are left out, clean ones too.
        settings: of the arm.
    """
    rows, replies = attack_replies(attacked, judged, settings)
    return outcomes(rows, replies) if rows else {}


def attack_replies(
    attacked: Sequence[PairRow | ScoreRow], judged: Mapping[str, Judged], settings: Settings
) -> tuple[list[PairRow | ScoreRow], list[Reply]]:
    """The rows that an arm has judged as they are and manipulated, and what it said of them.

    Args:
        attacked: as for `arm_outcomes`.
        judged: likewise.
        settings: likewise.
    """
    there = {row.key for row in attacked if row_digest(row) in judged}
    rows = [row for row in attacked if row.key in there and _clean_key(row.key) in there]
    pairs = [row for row in rows if isinstance(row, PairRow)]
    scores = [row for row in rows if isinstance(row, ScoreRow)]
    said = pair_columns(pairs, judged, settings).winner.tolist()
    levels = score_columns(scores, judged, settings).score.tolist()
    replies = [
        Reply(row.key, "both", winner=None if code == UNREAD else WINNERS[code])
        for row, code in zip(pairs, said, strict=True)
    ]
    replies += [
        Reply(row.key, level=None if math.isnan(level) else level)
        for row, level in zip(scores, levels, strict=True)
    ]
    return rows, replies


def _clean_key(key: str) -> str:
    base, _, setting = key.rsplit("|", 2)
    return f"{base}|{CLEAN}|{setting}"
