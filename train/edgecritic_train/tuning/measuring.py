"""What rows take, measured by several processes where there are many."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from edgecritic.errors import CriticError
from edgecritic_train.critic_data.rows import CriticRow
from edgecritic_train.tuning.examples import Measure

_Measuring: TypeAlias = Callable[[CriticRow], Measure]
_MANY: Final = 5000
"""Rows; fewer are measured before processes are there."""
_CHUNK: Final = 200
_work: list[tuple[_Measuring, Sequence[CriticRow]]] = []
"""Of a process that measures."""


def measured(measure: _Measuring, rows: Sequence[CriticRow], workers: int) -> list[Measure]:
    """What each row takes.

    Args:
        measure: of one row.
        rows: to measure.
        workers: processes to use for many rows, where processes can be forked.

    Raises:
        CriticError: a row cannot be used; the first one is told.
    """
    if workers < 2 or len(rows) < _MANY or "fork" not in multiprocessing.get_all_start_methods():
        return [measure(row) for row in rows]
    chunks = [range(k, min(k + _CHUNK, len(rows))) for k in range(0, len(rows), _CHUNK)]
    found: list[Measure] = []
    # Forked, they have rows and tokenizer already.
    with multiprocessing.get_context("fork").Pool(workers, _adopt, (measure, rows)) as pool:
        for chunk in pool.imap(_measure_chunk, chunks):
            if isinstance(chunk, int):
                raise _error_of(measure, rows[chunk])
            found += chunk
    return found


def _adopt(measure: _Measuring, rows: Sequence[CriticRow]) -> None:
    _work[:] = [(measure, rows)]


def _measure_chunk(numbers: range) -> list[Measure] | int:
    """What the rows take, or the number of the first that cannot be used."""
    [(measure, rows)] = _work
    found = []
    for number in numbers:
        try:
            found.append(measure(rows[number]))
        except CriticError:
            return number
    return found


def _error_of(measure: _Measuring, row: CriticRow) -> CriticError:
    try:
        measure(row)
    except CriticError as error:
        return error
    return CriticError(f"{row.named} could be read at the second try only", "start again")
