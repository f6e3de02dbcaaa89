"""Worker processes that render, tokenize and collate ahead of the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from edgecritic_train.data.assets import Assets
from edgecritic_train.data.engine import item_at
from edgecritic_train.data.items import TwinItem


@dataclass(frozen=True)
class ItemStream:
    """Which items of the engine a stage trains on.

    Attributes:
        packs: asset packs.
        split: usually "train".
        seed: names the series; a resumed stage starts a new series, so no item comes twice.
        emphasis: see `engine.item_at`.
    """

    packs: tuple[Path, ...]
    split: str
    seed: int
    emphasis: Mapping[str, float] = field(default_factory=dict)


class _Batches(IterableDataset[Any]):
    def __init__(
        self,
        stream: ItemStream,
        n_items: int,
        collate: Callable[[Sequence[TwinItem]], Any],
    ) -> None:
        self.stream, self.n_items, self.collate = stream, n_items, collate

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        index, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        torch.set_num_threads(1)
        stream = self.stream
        assets = Assets.load(*stream.packs)
        while True:
            items = []
            for _ in range(self.n_items):
                items.append(
                    item_at(assets, stream.split, stream.seed, index, emphasis=stream.emphasis)
                )
                index += stride
            yield self.collate(items)


def batches(
    stream: ItemStream,
    n_items: int,
    collate: Callable[[Sequence[TwinItem]], Any],
    n_workers: int,
) -> Iterator[Any]:
    """Endless collated batches of `n_items` items, made by `n_workers` processes."""
    loader = DataLoader(
        _Batches(stream, n_items, collate),
        batch_size=None,
        num_workers=n_workers,
        prefetch_factor=6 if n_workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


def normalised(tiles: Tensor) -> Tensor:
    """(n, S, S, 3) uint8 to (n, 3, S, S) in [-1, 1], on the tiles' device."""
    return tiles.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def stacked(arrays: Sequence[np.ndarray[Any, Any]], fill: int, length: int) -> Tensor:
    """(n, length) int64, each array padded at its end with `fill`."""
    out = np.full((len(arrays), length), fill, dtype=np.int64)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(out)
