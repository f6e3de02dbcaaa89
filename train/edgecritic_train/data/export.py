"""Writes twin items to disk: images as WebP files, one JSON object a line.

Schema of a line in ``items.jsonl``::

    {"id": "T0-000017", "kind": "digit", "split": "T0", "seed": 4711,
     "question": "...", "images": ["images/T0-000017-a.webp", "images/T0-000017-b.webp"],
     "references": ["...", "..."], "facts": ["...", "..."],
     "labels": [{"digit": "7"}, {"digit": "3"}],
     "responses": [{"text": "...", "family": "terse", "scores": [9, 3], "reasons": ["...", "..."],
                    "families": ["terse", "wrong_value"], "remarks": ["...", "..."]}],
     "pairs": [{"side": 0, "first": 2, "second": 0, "winner": "first", "reason": "...",
                "image_decided": true}]}

Every two-element list is (image A, image B); `first` and `second` are indices into
`responses`; `side` is 0 for A and 1 for B. The images are lossless.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from edgecritic_train.data.items import TwinItem
from edgecritic_train.data.preferences import preferences


def export_jsonl(items: Iterable[TwinItem], folder: Path) -> Path:
    """Writes items and their preference pairs.

    Args:
        items: what to write; streamed.
        folder: made if it does not exist; files of the same name are replaced.

    Returns:
        The path of ``items.jsonl``.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = folder / "items.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for index, item in enumerate(items):
            name = f"{item.split}-{index:06d}"
            paths = [f"images/{name}-{side}.webp" for side in "ab"]
            for path, image in zip(paths, item.images, strict=True):
                image.save(folder / path, lossless=True, quality=40, method=2)
            file.write(json.dumps(_row(name, paths, item), ensure_ascii=False) + "\n")
    return rows


def _row(name: str, paths: list[str], item: TwinItem) -> dict[str, object]:
    position = {id(response): index for index, response in enumerate(item.responses)}
    pairs = [
        {
            "side": pair.side,
            "first": position[id(pair.first)],
            "second": position[id(pair.second)],
            "winner": pair.winner,
            "reason": pair.reason,
            "image_decided": pair.image_decided,
        }
        for pair in preferences(item)
    ]
    return {
        "id": name,
        "kind": item.kind,
        "split": item.split,
        "seed": item.seed,
        "question": item.question,
        "images": paths,
        "references": item.references,
        "facts": item.facts,
        "labels": [dict(labels) for labels in item.labels],
        "responses": [asdict(response) for response in item.responses],
        "pairs": pairs,
    }
