"""Pairs in the formats of other trainers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgecritic.errors import InputError
from edgecritic_train.critic_data.rows import CriticRow, ImageFile
from edgecritic_train.critic_data.writing import replacing, write_json, writing

_MARKS: Final = re.compile(r"<(?=(image|video|audio)>|\|)")
"""Where a text would become a picture's place or a control token in those trainers."""


def trl_record(row: CriticRow) -> dict[str, Any]:
    """A pair as TRL's DPOTrainer takes it: a conversation with pictures, explicit prompt."""
    chosen, rejected = chosen_rejected(row)
    asked = [*({"type": "image"} for _ in row.images), _text(row.question)]
    return {
        "images": _paths(row),
        "prompt": [{"role": "user", "content": asked}],
        "chosen": [{"role": "assistant", "content": [_text(chosen)]}],
        "rejected": [{"role": "assistant", "content": [_text(rejected)]}],
    }


def llamafactory_record(row: CriticRow) -> dict[str, Any]:
    """A pair as LLaMA-Factory takes it: sharegpt with a ranking."""
    chosen, rejected = chosen_rejected(row)
    question = "<image>" * len(row.images) + harmless(row.question)
    return {
        "conversations": [{"from": "human", "value": question}],
        "chosen": {"from": "gpt", "value": harmless(chosen)},
        "rejected": {"from": "gpt", "value": harmless(rejected)},
        "images": _paths(row),
    }


FORMATS: Final[Mapping[str, Callable[[CriticRow], dict[str, Any]]]] = {
    "trl": trl_record,
    "llamafactory": llamafactory_record,
}


def write_format(name: str, rows: Sequence[CriticRow], folder: Path) -> Path:
    """Write a file of pairs, and what the trainer needs beside it.

    Args:
        name: of `FORMATS`.
        rows: pairwise rows with a winner.
        folder: to write to.

    Returns:
        The file of pairs.

    Raises:
        ArtifactError: it cannot be written.
        InputError: a picture is no file.
    """
    path = folder / f"{name}.jsonl"
    with replacing(path) as file, writing(path):
        for row in rows:
            line = json.dumps(FORMATS[name](row), ensure_ascii=False)
            file.write(line.encode() + b"\n")
    if name == "llamafactory":
        columns = {
            "messages": "conversations",
            **{key: key for key in ("chosen", "rejected", "images")},
        }
        described = {
            "file_name": path.name,
            "formatting": "sharegpt",
            "ranking": True,
            "columns": columns,
        }
        write_json(folder / "dataset_info.json", {"preferences": described})
    return path


def chosen_rejected(row: CriticRow) -> tuple[str, str]:
    """The winner and the loser of a pair.

    Raises:
        InputError: it has no winner.
    """
    if row.verdict == "first":
        return row.responses[0], row.responses[1]
    if row.verdict == "second":
        return row.responses[1], row.responses[0]
    raise InputError(f"{row.named} has no winner", "leave ties and scores out")


def harmless(text: str) -> str:
    """The text with a blank in what those trainers would take for a control token."""
    return _MARKS.sub("< ", text)


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": harmless(text)}


def _paths(row: CriticRow) -> list[str]:
    paths = []
    for ref in row.images:
        if not isinstance(ref, ImageFile):
            raise InputError(
                f"{row.named} holds a picture as base64", "keep pictures in files of their own"
            )
        paths.append(ref.path.absolute().as_posix())
    return paths
