"""Rows that judge the same text on both pictures of an item."""

from __future__ import annotations

import numpy as np

from edgecritic_bench.tables import Ints, PairTable, ScoreTable

_INDEX_LIMIT = 1 << 10
"""Above any index of a response."""


def twin_rows(table: PairTable | ScoreTable) -> tuple[Ints, Ints]:
    """Row numbers on picture A and on picture B of what was judged on both."""
    if isinstance(table, PairTable):
        texts = table.first * _INDEX_LIMIT + table.second
    else:
        texts = table.response
    keys = table.clusters * _INDEX_LIMIT**2 + texts
    rows = [np.flatnonzero(table.side == side) for side in (0, 1)]
    _, on_a, on_b = np.intersect1d(keys[rows[0]], keys[rows[1]], return_indices=True)
    return rows[0][on_a], rows[1][on_b]


def clusters_of(table: PairTable | ScoreTable, rows: Ints) -> Ints:
    """Item numbers of some rows, from 0."""
    return np.asarray(np.unique(table.item[rows], return_inverse=True)[1], dtype=np.int64)
