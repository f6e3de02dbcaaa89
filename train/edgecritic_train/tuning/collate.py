"""Rows to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from edgecritic_train.critic_data.rows import CriticRow
from edgecritic_train.tuning.config import LossSettings
from edgecritic_train.tuning.examples import (
    IGNORED,
    Example,
    IntArray,
    check_example,
    weights_of,
)
from edgecritic_train.tuning.families import Picture


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a batch has besides tensors; it stays on the CPU until the step that needs it.

    Attributes:
        row_ids: of its rows.
        pictures: of each row.
    """

    row_ids: tuple[str, ...]
    pictures: tuple[tuple[Picture, ...], ...]


class Laying(Protocol):
    """Lays rows out as examples."""

    def make(self, row: CriticRow) -> Example:
        """A row with its pictures."""
        ...


class CriticCollator:
    """Makes batches of rows that a dataset names by their number.

    Args:
        rows: that the numbers count.
        maker: lays them out.
        loss: weights of their tokens.
        pad: id behind shorter rows.
        image_tokens: ids that must never be learned, with their names.
    """

    def __init__(
        self,
        rows: Sequence[CriticRow],
        maker: Laying,
        loss: LossSettings,
        pad: int,
        image_tokens: Mapping[int, str],
    ) -> None:
        self._rows = rows
        self._maker = maker
        self._loss = loss
        self._pad = pad
        self._image_tokens = dict(image_tokens)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Batch of the rows ``features[k]["row"]``.

        Returns:
            ``input_ids``, ``labels``, ``parts`` (n, length) int64, ``weights`` (n, length)
            float32, and ``shown``; ``attention_mask`` where a row is padded, since attention
            without a mask is faster.

        Raises:
            CriticError: a row cannot be used.
        """
        examples = [self._maker.make(self._rows[feature["row"]]) for feature in features]
        for example in examples:
            check_example(example, self._image_tokens)
        return self._stacked(examples)

    def _stacked(self, examples: Sequence[Example]) -> dict[str, Any]:
        tokens = padded([example.tokens for example in examples], self._pad)
        parts = padded([example.parts for example in examples], IGNORED)
        weights = torch.from_numpy(weights_of(parts.numpy(), self._loss))
        lengths = torch.tensor([len(example.tokens) for example in examples])
        mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
        return {
            "input_ids": tokens,
            **({} if bool(mask.all()) else {"attention_mask": mask}),
            "labels": torch.where(parts == IGNORED, IGNORED, tokens),
            "parts": parts,
            "weights": weights,
            "shown": Shown(
                tuple(example.row_id for example in examples),
                tuple(example.pictures for example in examples),
            ),
        }


def padded(arrays: Sequence[IntArray], fill: int) -> Tensor:
    """(n, longest) int64; `fill` behind the shorter ones."""
    length = max(map(len, arrays))
    out = torch.full((len(arrays), length), fill, dtype=torch.int64)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = torch.from_numpy(array)
    return out
