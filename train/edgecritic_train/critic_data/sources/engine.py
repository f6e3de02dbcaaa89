"""The data engine's twin items as rows: truth by construction, both pictures of a twin together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from PIL import Image

from edgecritic.task import Rubric
from edgecritic.verdict import Winner
from edgecritic_train.critic_data.rows import SWAPPED, CriticRow, ImageBytes
from edgecritic_train.critic_data.templates import PAIRWISE, POINTWISE, stable_choice, stable_number
from edgecritic_train.data.items import Pair, TwinItem
from edgecritic_train.data.preferences import preferences
from edgecritic_train.embedded.rows import CRITERIA, TRANSCRIPT, scaled, swap_ordinals, transcript

_SCALES = (*[(1, 10)] * 12, (1, 5), (1, 5), (0, 10), (0, 100), (1, 7), (1, 4))
_CRITERIA_PERCENT = 12
_REFERENCE_PERCENT = 8
"""Of the rows, that name criteria or show a reference: few, so that the picture stays needed."""


REFERENCE: Final = "reference"
"""Judge of a row that holds no judgement: its response is the right one by construction."""


@dataclass(frozen=True, slots=True)
class Twin:
    """An item with its pictures encoded."""

    item: TwinItem
    name: str
    images: tuple[ImageBytes, ...]

    @classmethod
    def of(cls, item: TwinItem) -> Twin:
        """The item, its pictures as lossless WebP."""
        images = tuple(ImageBytes(_webp(image)) for image in item.images)
        return cls(item, f"{item.split}-{item.seed:016x}", images)


def item_rows(twin: Twin) -> Iterator[CriticRow]:
    """All judgements of an item: its preference pairs, and every response on both pictures.

    The pictures are inside the rows. Rows of the training split are for training, those of the
    engine's held-out splits for ``test``. What is drawn (order, wording, scale, criteria,
    reference) depends on the item alone.
    """
    for number, pair in enumerate(preferences(twin.item)):
        yield _row(twin, _compared(twin, number, pair))
    for side in (0, 1):
        for number in range(len(twin.item.responses)):
            yield _row(twin, _scored(twin, side, number))


def fewer_rows(twin: Twin, most: int) -> Iterator[CriticRow]:
    """Of `item_rows` at most so many for each picture, half of them pairs where there are.

    More judgements of a picture cost other pictures, which teach more.
    """
    rows = list(item_rows(twin))
    for images in dict.fromkeys(row.images for row in rows):
        shown = [row for row in rows if row.images == images]
        drawn = sorted(shown, key=lambda row: stable_number("drawn", "of the picture", row.id))
        pairs = [row for row in drawn if row.setting == "pairwise"]
        scores = [row for row in drawn if row.setting == "pointwise"]
        n_pairs = min(len(pairs), max(most // 2, most - len(scores)))
        yield from (*pairs[:n_pairs], *scores[: most - n_pairs])


def answer_rows(twin: Twin) -> Iterator[CriticRow]:
    """The right answer to an item's question on each of its pictures, as a row of the top level.

    A policy learns to give them (`data.learn: answers`), and is asked their questions afterwards.
    """
    for side in (0, 1):
        yield _answer(twin, side, "", twin.item.question, twin.item.references[side])


def list_rows(twin: Twin) -> Iterator[CriticRow]:
    """All that each picture of an item shows, as the answer to a request for it.

    The request gives nothing away, as a question may.
    """
    for side in (0, 1):
        listed = transcript(twin.item.labels[side])
        yield _answer(twin, side, "-list", TRANSCRIPT, listed)


def _answer(twin: Twin, side: int, suffix: str, question: str, answer: str) -> CriticRow:
    return CriticRow(
        id=f"{twin.name}/{'ab'[side]}{suffix}",
        setting="pointwise",
        question=question,
        responses=(answer,),
        verdict=Rubric().high,
        images=(twin.images[side],),
        reference=answer,
        source=f"engine-{twin.item.kind}",
        judge=REFERENCE,
        group=twin.name,
        split="train" if twin.item.split == "train" else "test",
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """One judgement of an item."""

    part: str
    side: int
    responses: tuple[str, ...]
    verdict: int | Winner
    reason: str
    scale: tuple[int, int]
    wording: int


def _compared(twin: Twin, number: int, pair: Pair) -> _Found:
    part = f"p{number}"
    texts, winner, reason = (pair.first.text, pair.second.text), pair.winner, pair.reason
    if stable_number("order", twin.name, part) % 2:
        texts, winner, reason = (texts[1], texts[0]), SWAPPED[winner], swap_ordinals(reason)
    wording = stable_choice(PAIRWISE, twin.name, part).wording
    return _Found(part, pair.side, texts, winner, reason, (1, 10), wording)


def _scored(twin: Twin, side: int, number: int) -> _Found:
    part = f"s{'ab'[side]}{number}"
    response = twin.item.responses[number]
    scale = stable_choice(_SCALES, "scale", twin.name, part)
    level = scaled(response.scores[side], Rubric(*scale))
    wording = stable_choice(POINTWISE, twin.name, part).wording
    return _Found(part, side, (response.text,), level, response.reasons[side], scale, wording)


def _row(twin: Twin, found: _Found) -> CriticRow:
    item, key = twin.item, f"{twin.name}/{found.part}"
    # The gold is correctness, so no other criteria may be named.
    criteria = stable_choice(CRITERIA, "criteria", key) if _drawn(_CRITERIA_PERCENT, key) else None
    shown = _drawn(_REFERENCE_PERCENT, "reference", key)
    return CriticRow(
        id=key,
        setting="pairwise" if len(found.responses) == 2 else "pointwise",
        question=item.question,
        responses=found.responses,
        verdict=found.verdict,
        images=(twin.images[found.side],),
        reference=item.references[found.side] if shown else None,
        rubric=Rubric(*found.scale, criteria),
        wording=found.wording,
        reason=found.reason,
        source=f"engine-{item.kind}",
        judge="truth",
        group=twin.name,
        split="train" if item.split == "train" else "test",
    )


def _drawn(percent: int, *key: str) -> bool:
    return stable_number("drawn", *key) % 100 < percent


def _webp(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "WEBP", lossless=True, quality=40, method=2)
    return file.getvalue()
