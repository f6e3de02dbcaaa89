"""Rows that repeat each other, and what training shares with what it is tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from edgecritic_train.critic_data.rows import Split
from edgecritic_train.critic_data.validation.facts import RowFacts
from edgecritic_train.critic_data.validation.findings import Findings, Kind
from edgecritic_train.critic_data.validation.pictures import PictureFacts

SAME_ID = Kind("same-id", "error", "two rows have the same id", "give each row its own")
DUPLICATE = Kind(
    "duplicate",
    "warning",
    "a row asks the same of the same pictures as another one, with the same verdict",
    "leave one out: it counts twice",
)
DISPUTED = Kind(
    "disputed",
    "warning",
    "a row asks the same of the same pictures as another one, and has another verdict",
    "decide which one is right",
)
CUT_GROUP = Kind(
    "group-in-two-splits",
    "error",
    "a group has rows in more than one split",
    "split by group: --validation and --test of the data commands do",
)
SHARED_IMAGE = Kind(
    "image-in-two-splits",
    "error",
    "a picture of the test or validation rows is also trained on",
    "move its rows to one split",
)
LIKE_IMAGE = Kind(
    "like-image-in-two-splits",
    "warning",
    "a picture of the test or validation rows looks like one that is trained on",
    "look at both: resized or recompressed copies belong to one split",
)
SHARED_TEXT = Kind(
    "text-in-two-splits",
    "warning",
    "question and responses of a test or validation row are also trained on, with other pictures",
    "usual for short answers; where answers are long, move the rows to one split",
)
_NEAR_BITS = 3
Key = TypeVar("Key")
_Pictures = Mapping[str, PictureFacts]


def repeats(rows: Sequence[RowFacts], pictures: _Pictures, findings: Findings) -> dict[str, Any]:
    """Find duplicates, disputes and what splits share.

    Returns:
        A JSON-ready summary.
    """
    ids: dict[str, RowFacts] = {}
    asked: dict[tuple[object, ...], RowFacts] = {}
    for row in rows:
        if (same := ids.setdefault(row.id, row)) is not row:
            findings.add(SAME_ID, f"{same.place} and {row.place}: {row.id}")
        key = (row.asked, *(_content(image, pictures) for image in row.images))
        if (twin := asked.setdefault(key, row)) is not row:
            kind = DUPLICATE if twin.verdict == row.verdict else DISPUTED
            findings.add(kind, f"{twin.place} and {row.place}")
    return {
        "distinct_pictures": len({facts.content for facts in pictures.values() if facts.content}),
        "shared_between_splits": _overlap(rows, pictures, findings),
    }


def _content(image: str, pictures: _Pictures) -> str:
    return pictures[image].content or image if image in pictures else image


def _overlap(rows: Sequence[RowFacts], pictures: _Pictures, findings: Findings) -> dict[str, int]:
    groups = _crossing(((row.group, row) for row in rows), CUT_GROUP, findings)
    images = _crossing(
        ((_content(image, pictures), row) for row in rows for image in row.images),
        SHARED_IMAGE,
        findings,
    )
    likes = _likes(rows, pictures, images, findings)
    texts = _crossing(((row.texts, row) for row in rows), SHARED_TEXT, findings)
    return {
        "groups": len(groups),
        "images": len(images),
        "like_images": likes,
        "texts": len(texts),
    }


def _likes(
    rows: Sequence[RowFacts], pictures: _Pictures, same: set[str], findings: Findings
) -> int:
    """Count held-out pictures that look like one that is trained on without being the same."""
    trained: dict[tuple[int, int], dict[int, RowFacts]] = defaultdict(dict)
    held_out: dict[int, RowFacts] = {}
    for row in rows:
        for image in row.images:
            facts = pictures.get(image)
            if facts is None or facts.likeness is None or facts.content in same:
                continue
            if row.split == "train":
                for band in _bands(facts.likeness):
                    trained[band].setdefault(facts.likeness, row)
            else:
                held_out.setdefault(facts.likeness, row)
    count = 0
    for bits, row in held_out.items():
        near = (
            twin
            for band in _bands(bits)
            for other, twin in trained.get(band, {}).items()
            if (bits ^ other).bit_count() <= _NEAR_BITS
        )
        if (twin := next(near, None)) is not None:
            findings.add(LIKE_IMAGE, f"{twin.place} and {row.place}")
            count += 1
    return count


def _bands(bits: int) -> Iterator[tuple[int, int]]:
    """The four quarters of 64 bits. Of two numbers that differ in three bits, one is the same."""
    return ((k, bits >> 16 * k & 0xFFFF) for k in range(4))


def _crossing(keyed: Iterable[tuple[Key, RowFacts]], kind: Kind, findings: Findings) -> set[Key]:
    """The keys that occur in training and in what is held out."""
    first: dict[Key, dict[Split, RowFacts]] = defaultdict(dict)
    for key, row in keyed:
        first[key].setdefault(row.split, row)
    crossing = set()
    for key, splits in first.items():
        held_out = splits.get("test") or splits.get("validation")
        if "train" in splits and held_out is not None:
            crossing.add(key)
            findings.add(kind, f"{splits['train'].place} and {held_out.place}")
    return crossing
