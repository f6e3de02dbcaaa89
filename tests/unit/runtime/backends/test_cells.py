"""The ledger counts what a cache would hold that keeps, for each cell, its set of sequences."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecritic.backends.base import Append, TextSpan
from edgecritic.backends.cells import CellLedger
from edgecritic.errors import ContextOverflowError, InputError

N_CELLS, N_SEQUENCES = 24, 5


class CellByCell:
    """The slow truth: one set of holders for each used cell."""

    def __init__(self) -> None:
        self.cells: list[set[int]] = []

    def fork(self, origin: int, copy: int, length: int) -> None:
        for holders in [holders for holders in self.cells if origin in holders][:length]:
            holders.add(copy)

    def close(self, sequence: int) -> None:
        for holders in self.cells:
            holders.discard(sequence)
        self.cells = [holders for holders in self.cells if holders]

    def length(self, sequence: int) -> int:
        return sum(sequence in holders for holders in self.cells)


def append(sequence: int, count: int) -> Append:
    return Append(sequence, (TextSpan((0,) * count),), logits=False)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["open", "fork", "close", "append"]),
            st.integers(0, N_SEQUENCES - 1),
            st.integers(0, 6),
        ),
        max_size=60,
    )
)
@settings(deadline=None, max_examples=300)
def test_it_agrees_with_cell_by_cell(steps: list[tuple[str, int, int]]) -> None:
    ledger, truth = CellLedger(N_CELLS, N_SEQUENCES), CellByCell()
    is_open: set[int] = set()
    for action, sequence, count in steps:
        try:
            if action == "open":
                is_open.add(ledger.open())
            elif action == "fork":
                length = truth.length(sequence) * count // 6
                copy = ledger.fork(sequence, length)
                is_open.add(copy)
                truth.fork(sequence, copy, length)
            elif action == "close":
                ledger.close(sequence)
                is_open.remove(sequence)
                truth.close(sequence)
            else:
                ledger.reserve([append(sequence, count)])
                truth.cells.extend({sequence} for _ in range(count))
        except ContextOverflowError:
            assert count > N_CELLS - len(truth.cells)
        except InputError:
            assert sequence not in is_open or len(is_open) == N_SEQUENCES
        assert ledger.n_free == N_CELLS - len(truth.cells)
        assert ledger.n_open == len(is_open)
        assert all(ledger.length(s) == truth.length(s) for s in is_open)


def test_reserving_is_all_or_nothing() -> None:
    ledger = CellLedger(10, 2)
    first, second = ledger.open(), ledger.open()
    with pytest.raises(ContextOverflowError, match="11 more tokens are needed and 10 of 10"):
        ledger.reserve([append(first, 6), append(second, 5)])
    assert ledger.n_free == 10
    assert ledger.length(first) == 0


def test_ids_are_used_again() -> None:
    ledger = CellLedger(10, 2)
    first, second = ledger.open(), ledger.open()
    assert (first, second) == (0, 1)
    ledger.close(first)
    assert ledger.open() == first
