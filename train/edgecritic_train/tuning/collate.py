"""Rows to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor

from edgecritic.errors import InputError
from edgecritic_train.critic_data.rows import CriticRow
from edgecritic_train.tuning.base import Base
from edgecritic_train.tuning.branches import PADDING, attention_mask, branch_positions
from edgecritic_train.tuning.config import LossSettings
from edgecritic_train.tuning.examples import (
    IGNORED,
    Example,
    IntArray,
    Seen,
    check_example,
    front_of,
    weights_of,
)
from edgecritic_train.tuning.families import Picture

UNIT: Final = 64
"""Lengths of masked sequences are whole multiples: attention's kernels copy other masks."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a batch has besides tensors; it stays on the CPU until the step that needs it.

    Attributes:
        row_ids: of its rows.
        pictures: of each sequence.
    """

    row_ids: tuple[str, ...]
    pictures: tuple[tuple[Picture, ...], ...]


class Laying(Protocol):
    """Lays rows out as examples."""

    def look(self, row: CriticRow) -> Seen:
        """The row's pictures."""
        ...

    def make(self, row: CriticRow, seen: Seen | None = None) -> Example:
        """A row with its pictures, which may have been looked at."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Sequenced:
    """Rows of the same pictures in one sequence; see `edgecritic_train.tuning.branches`.

    Attributes:
        row_ids: of its rows.
        tokens: (n,) ids.
        parts: (n,) as in `Example`.
        branches: (n,) `PREFIX`, or which row's; all `PREFIX` of a row by itself.
        pictures: in the order of their tokens.
    """

    row_ids: tuple[str, ...]
    tokens: IntArray
    parts: IntArray
    branches: IntArray
    pictures: tuple[Picture, ...]


class CriticCollator:
    """Makes batches of rows that a dataset names by their numbers.

    Args:
        rows: that the numbers count.
        maker: lays them out.
        loss: weights of their tokens.
        pad: id behind shorter sequences.
        image_token: id that stands for a picture's token, which must never be learned.
    """

    def __init__(
        self,
        rows: Sequence[CriticRow],
        maker: Laying,
        loss: LossSettings,
        pad: int,
        image_token: int,
    ) -> None:
        self._rows = rows
        self._maker = maker
        self._loss = loss
        self._pad = pad
        self._image_token = image_token

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Batch of sequences; the k-th holds the rows ``features[k]["rows"]``.

        Returns:
            ``input_ids``, ``labels``, ``parts`` (n, length) int64, ``weights`` (n, length)
            float32, and ``shown``. Where rows share a sequence, ``branches`` (n, length) int64;
            otherwise ``attention_mask`` where a row is padded, since attention without a mask is
            faster.

        Raises:
            CriticError: a row cannot be used.
        """
        return self._stacked([self._sequence(feature["rows"]) for feature in features])

    def _sequence(self, numbers: Sequence[int]) -> Sequenced:
        rows = [self._rows[number] for number in numbers]
        seen = self._maker.look(rows[0])
        examples = [self._maker.make(row, seen) for row in rows]
        for example in examples:
            check_example(example, {self._image_token: "an image token"})
        return behind_one_prefix(examples, self._image_token)

    def _stacked(self, found: Sequence[Sequenced]) -> dict[str, Any]:
        shared = any(len(one.row_ids) > 1 for one in found)
        unit = UNIT if shared else 1
        tokens = padded([one.tokens for one in found], self._pad, unit)
        parts = padded([one.parts for one in found], IGNORED, unit)
        weights = torch.from_numpy(weights_of(parts.numpy(), self._loss))
        branches = padded([one.branches for one in found], PADDING, unit)
        mask = (branches != PADDING).long()
        return {
            "input_ids": tokens,
            **({"branches": branches} if shared else {}),
            **({} if shared or bool(mask.all()) else {"attention_mask": mask}),
            "labels": torch.where(parts == IGNORED, IGNORED, tokens),
            "parts": parts,
            "weights": weights,
            "shown": Shown(
                tuple(row_id for one in found for row_id in one.row_ids),
                tuple(one.pictures for one in found),
            ),
        }


def behind_one_prefix(examples: Sequence[Example], image_token: int) -> Sequenced:
    """The rows one behind the other, and what ends with their last picture once in front.

    What is learned of a row never is the first token of its branch, which the prefix, seen by all,
    would have to predict: a prompt has words behind its pictures.

    Args:
        examples: of the same pictures.
        image_token: id of a picture's tokens.

    Raises:
        InputError: their prefixes differ.
    """
    first = examples[0]
    front = front_of(first.tokens, image_token) if len(examples) > 1 else len(first.tokens)
    tokens, parts = [first.tokens[:front]], [first.parts[:front]]
    branches = [np.zeros(front, dtype=np.int64)]
    for number, example in enumerate(examples if len(examples) > 1 else (), start=1):
        if not np.array_equal(example.tokens[:front], first.tokens[:front]):
            raise InputError(
                f"rows {first.row_id} and {example.row_id} do not begin alike",
                "set data.share to false",
            )
        tokens.append(example.tokens[front:])
        parts.append(example.parts[front:])
        branches.append(np.full(len(tokens[-1]), number, dtype=np.int64))
    return Sequenced(
        tuple(example.row_id for example in examples),
        np.concatenate(tokens),
        np.concatenate(parts),
        np.concatenate(branches),
        first.pictures,
    )


def model_inputs(
    base: Base,
    model: Any,
    batch: Mapping[str, Any],
    pictures: Sequence[Sequence[Picture]],
    dtype: torch.dtype,
) -> dict[str, Any]:
    """What the model's forward takes: tokens, pictures, and which tokens see which.

    Args:
        base: of the model.
        model: without its adapter's wrapping.
        batch: ``input_ids`` and, if any, ``branches`` or ``attention_mask``, on its device.
        pictures: of each sequence.
        dtype: of the vision tower.
    """
    tokens, branches = batch["input_ids"], batch.get("branches")
    seen = base.eye.inputs(pictures, tokens, dtype)
    if branches is None:
        return {"input_ids": tokens, **seen, "attention_mask": batch.get("attention_mask")}
    return {
        "input_ids": tokens,
        **seen,
        "attention_mask": attention_mask(branches, model.config._attn_implementation, dtype),
        "position_ids": branch_positions(base.eye, model, tokens, branches, seen),
    }


def padded(arrays: Sequence[IntArray], fill: int, unit: int = 1) -> Tensor:
    """(n, longest) int64, the length rounded up to whole `unit`; `fill` behind the shorter ones."""
    length = -(-max(map(len, arrays)) // unit) * unit
    out = torch.full((len(arrays), length), fill, dtype=torch.int64)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = torch.from_numpy(array)
    return out
