"""The data engine's rows with their pictures in files, drawn by several processes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Literal, TypeAlias

from edgecritic_train.critic_data.pictures import PictureStore
from edgecritic_train.critic_data.rows import CriticRow, ImageBytes
from edgecritic_train.critic_data.sources.engine import (
    Twin,
    answer_rows,
    fewer_rows,
    item_rows,
    list_rows,
)
from edgecritic_train.data.assets import Assets
from edgecritic_train.data.engine import item_at

Answers: TypeAlias = Literal["none", "instead", "beside"]
_CHUNK: Final = 32
"""Items that a process draws at once."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What to draw.

    Attributes:
        assets: packs.
        split: of the engine.
        seed: of the series.
        items: how many, from the first.
        kinds: question types; None for all.
        answers: right answers in place of the judgements, or behind them, each picture's with a
            list of what it shows.
        per_picture: judgements of a picture at most; None for all.
    """

    assets: tuple[Path, ...]
    split: str
    seed: int
    items: int
    kinds: list[str] | None = None
    answers: Answers = "none"
    per_picture: int | None = None


@dataclass(frozen=True, slots=True)
class _Desk:
    options: EngineOptions
    assets: Assets
    store: PictureStore

    def rows(self, index: int) -> Iterator[CriticRow]:
        """Of one item, its pictures in files."""
        options = self.options
        item = item_at(self.assets, options.split, options.seed, index, options.kinds)
        kept = {}
        for row in self._taught(Twin.of(item)):
            if row.images not in kept:
                refs = [ref for ref in row.images if isinstance(ref, ImageBytes)]
                kept[row.images] = tuple(self.store.put(ref.data) for ref in refs)
            yield replace(row, images=kept[row.images])

    def _taught(self, twin: Twin) -> Iterator[CriticRow]:
        if self.options.answers != "instead":
            most = self.options.per_picture
            yield from item_rows(twin) if most is None else fewer_rows(twin, most)
        if self.options.answers != "none":
            yield from answer_rows(twin)
        if self.options.answers == "beside":
            yield from list_rows(twin)


_desks: list[_Desk] = []
"""Of a process that draws."""


def engine_rows(options: EngineOptions, store: PictureStore, workers: int) -> Iterator[CriticRow]:
    """Rows of the items 0, 1, ...: the same for any number of processes.

    Args:
        options: what to draw.
        store: takes the pictures.
        workers: processes that draw.

    Raises:
        CriticError: an unknown split or kind, or a pack or an asset is missing.
    """
    desk = _Desk(options, Assets.load(*options.assets), store)
    if workers == 1:
        for index in range(options.items):
            yield from desk.rows(index)
        return
    chunks = [range(k, min(k + _CHUNK, options.items)) for k in range(0, options.items, _CHUNK)]
    spawned = get_context("spawn")
    with ProcessPoolExecutor(workers, spawned, _open_desk, (desk,)) as pool:
        for rows in pool.map(_rows_of, chunks):
            yield from rows


def _open_desk(desk: _Desk) -> None:
    _desks[:] = [desk]


def _rows_of(numbers: range) -> list[CriticRow]:
    return [row for index in numbers for row in _desks[0].rows(index)]
