"""MM-RLHF-RewardBench: 170 pairs of 46 questions, for judges that score each response.

Source: arXiv:2502.10391; ``cal_performance_mmreweard_bench.py`` of the authors, as of 2025-03. A
pair is right if the chosen response gets strictly more than the rejected one; ACC+ asks that of all
pairs of a question.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecritic_bench.protocols.files import Object, keyed_rows, picture, text
from edgecritic_bench.protocols.pairs import pair_score
from edgecritic_bench.protocols.replies import Reply
from edgecritic_bench.protocols.rows import Image, PairRow
from edgecritic_bench.protocols.scores import (
    Hit,
    Protocol,
    Score,
    by_row,
    overall,
    refuse_protocol,
    shares,
)
from edgecritic_bench.statistics.intervals import Estimate

NAME = "mm-rlhf-rewardbench"
KNOWN: tuple[Protocol, ...] = ("official", "both-orders")
CATEGORIES = ("mcq", "long", "short", "safety", "video")
"""A row's category is the first of them in its picture's path; for ACC+ it is of all in it."""
FRAMES = 8
"""Pictures that stand for a video, evenly spaced; the authors' own judge sees 32."""
_FILES = ("mm_reward_bench.jsonl", "*.jsonl", "data/*.parquet", "*.parquet")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def load(path: Path) -> tuple[PairRow, ...]:
    """Rows of ``mm_reward_bench.jsonl`` or of its Parquet; the chosen response is the first.

    Raises:
        InputError: the file is missing or another.
    """
    return keyed_rows(path, _FILES, _name, _row)


def _name(row: Object) -> str:
    return str(row["id"])


def _row(key: str, row: Object, folder: Path) -> PairRow:
    return PairRow(
        key=key,
        question=text(row, "prompt"),
        images=_images(row, folder),
        category=category(str(row.get("image") or row.get("video") or "")),
        item=str(row["id"]),
        responses=(text(row, "chosen"), text(row, "rejected")),
        gold="first",
    )


def category(path: str) -> str:
    """All categories in a picture's path, joined by a plus: ``long+video``."""
    return "+".join(word for word in CATEGORIES if word in path)


def _images(row: Object, folder: Path) -> tuple[Image, ...]:
    if row.get("image"):
        return (picture(row["image"], folder, ("", "images")),)
    if not row.get("video"):
        return ()
    frames = picture(row["video"], folder)
    places = [folder / place / str(row["video"]) for place in ("", "images", "videos")]
    found = next((place for place in places if place.is_dir()), frames)
    if not isinstance(found, Path) or not found.is_dir():
        return ()
    files = sorted(file for file in found.iterdir() if file.suffix.lower() in _PICTURES)
    if len(files) <= FRAMES:
        return tuple(files)
    return tuple(files[round(n * (len(files) - 1) / (FRAMES - 1))] for n in range(FRAMES))


def score(
    rows: Sequence[PairRow],
    replies: Sequence[Reply],
    protocol: Protocol = "official",
    *,
    partial: bool = False,
) -> Score:
    """Score one judge.

    Args:
        rows: of `load`.
        replies: of the judge; rewards, or a winner where there are none.
        protocol: whose rules.
        partial: leave out rows without a reply.

    Raises:
        InputError: no such protocol, or rows without a reply.
    """
    if protocol not in KNOWN:
        raise refuse_protocol(NAME, protocol, KNOWN)
    judged = by_row(rows, replies, partial)
    if protocol == "both-orders":
        rules = "both orders reconciled; a tie or an unread verdict is wrong"
        return pair_score(judged, protocol, rules, "accuracy without ties")
    hits, unread = [], 0
    for row, given in judged:
        reply = next((r for r in given if r.rewards is not None), given[0])
        unread += reply.rewards is None and reply.winner is None
        hits.append(Hit(row.key, row.item, float(_right(reply))))
    kinds = [row.category.split("+") for row, _ in judged]
    every = _all_right(hits)
    by_kind = shares(hits, [names[0] for names in kinds])
    metrics = {
        "ACC": overall(hits),
        "ACC+": overall(list(every.values())),
        **{f"ACC, {name}": by_kind[name] for name in CATEGORIES if name in by_kind},
        **_plus_by_category(every, hits, kinds),
    }
    rules = "the chosen response needs the strictly greater reward; ACC+ wants all pairs of an id"
    return Score(protocol, rules, "ACC", metrics, len(hits), unread, tuple(hits))


def _right(reply: Reply) -> bool:
    if reply.rewards is not None:
        return reply.rewards[0] > reply.rewards[1]
    return reply.winner == "first"


def _all_right(hits: Sequence[Hit]) -> dict[str, Hit]:
    """One hit an id: 1 if all of its pairs are right."""
    every: dict[str, Hit] = {}
    for hit in hits:
        before = every.get(hit.item)
        value = hit.value if before is None else min(before.value, hit.value)
        every[hit.item] = Hit(hit.item, hit.item, value)
    return every


def _plus_by_category(
    every: dict[str, Hit], hits: Sequence[Hit], kinds: Sequence[Sequence[str]]
) -> dict[str, Estimate]:
    """ACC+ of each category that is the first one of some pair.

    As the authors count: an id is asked of every category in the path of one of its pairs, but
    counts as right for the first of them only.
    """
    of_id: dict[str, set[str]] = {}
    for hit, names in zip(hits, kinds, strict=True):
        of_id.setdefault(hit.item, set()).update(names)
    leading = {names[0] for names in kinds}
    found = {}
    for name in (name for name in CATEGORIES if name in leading):
        part = []
        for key, words in of_id.items():
            if name in words:
                first = next(word for word in CATEGORIES if word in words)
                part.append(Hit(key, key, every[key].value if first == name else 0.0))
        found[f"ACC+, {name}"] = overall(part)
    return found
