"""What validation keeps of a row: little, so that millions fit into memory."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from edgecritic.prompts import Setting
from edgecritic.verdict import Winner
from edgecritic_train.critic_data.rows import CriticRow, ImageFile, Split

_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class RowFacts:
    """One row.

    Attributes:
        place: file and line.
        id: of the row.
        setting: pointwise or pairwise.
        verdict: level or winner.
        scale: (low, high) of its rubric.
        source: collection.
        split: what it is for.
        group: what must not be cut.
        images: a key for each picture: its path, or the hash of its bytes.
        texts: hash of question and responses, blanks and case aside; the same in both orders.
        asked: hash of all that is asked, blanks and case aside, in the given order.
        swapped: the same with the responses exchanged; empty for pointwise rows.
        lengths: of the responses, in characters.
        n_tokens: of the text with the answer, or None where they were not counted.
    """

    place: str
    id: str
    setting: Setting
    verdict: int | Winner
    scale: tuple[int, int]
    source: str
    split: Split
    group: str
    images: tuple[str, ...]
    texts: bytes
    asked: bytes
    swapped: bytes
    lengths: tuple[int, ...]
    n_tokens: int | None = None

    @classmethod
    def of(cls, place: str, row: CriticRow, n_tokens: int | None) -> RowFacts:
        """The facts of a row."""
        pairwise = row.setting == "pairwise"
        return cls(
            place,
            row.id,
            row.setting,
            row.verdict,
            (row.rubric.low, row.rubric.high),
            row.source,
            row.split,
            row.group,
            image_keys(row),
            _digest(_plain(row.question), *sorted(map(_plain, row.responses))),
            _asked(row, row.responses),
            _asked(row, row.responses[::-1]) if pairwise else b"",
            tuple(map(len, row.responses)),
            n_tokens,
        )


def image_keys(row: CriticRow) -> tuple[str, ...]:
    """A key for each picture of a row."""
    return tuple(
        str(ref.path)
        if isinstance(ref, ImageFile)
        else f"bytes:{hashlib.sha256(ref.data).hexdigest()}"
        for ref in row.images
    )


def _asked(row: CriticRow, responses: tuple[str, ...]) -> bytes:
    rubric = row.rubric
    scale = (rubric.low, rubric.high) if row.setting == "pointwise" else None
    return _digest(
        row.setting,
        _plain(row.question),
        *map(_plain, responses),
        _plain(row.reference or ""),
        _plain(rubric.criteria or ""),
        json.dumps([scale, list(rubric.levels.items())]),
    )


def _plain(text: str) -> str:
    return _BLANKS.sub(" ", text).strip().casefold()


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).digest()
