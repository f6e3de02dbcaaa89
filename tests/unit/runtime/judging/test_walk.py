"""Rows decoded by a walk give what rows decoded one by one give, whatever is in the pool."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.backends.base import Append, CancelToken, FloatArray, ImageSpan
from edgecritic.backends.options import EngineOptions
from edgecritic.backends.scripted import History, ScriptedBackend
from edgecritic.errors import ContextOverflowError
from edgecritic.judging.pool import PrefixPool
from edgecritic.judging.reading import check_fit
from edgecritic.judging.trie import Node, Units, build_tree, count_cells, spans_of
from edgecritic.judging.walk import Walk

CAT, DOG = (ImageSpan(key, np.ones((3, 8), dtype=np.float32)) for key in ("cat", "dog"))


def hashed(history: History) -> Mapping[int, float]:
    rng = np.random.default_rng(zlib.crc32(repr(history).encode()))
    return dict(enumerate(rng.normal(size=8)))


def backend_of(*, n_ctx: int = 4096, max_sequences: int = 32) -> ScriptedBackend:
    return ScriptedBackend(hashed, options=EngineOptions(n_ctx=n_ctx, max_sequences=max_sequences))


def one_by_one(rows: Sequence[Units]) -> list[FloatArray]:
    backend = backend_of()
    results = []
    for row in rows:
        sequence = backend.open_sequence()
        (logits,) = backend.append([Append(sequence, spans_of(row))])
        assert logits is not None
        results.append(logits)
        backend.close_sequence(sequence)
    return results


def tree_size(nodes: Sequence[Node]) -> int:
    return sum(node.n_cells + tree_size(node.children) for node in nodes)


def walked(
    pool: PrefixPool, backend: ScriptedBackend, rows: Sequence[Units], keep: Sequence[int] = ()
) -> Walk:
    """Walk, and check every row."""
    found: dict[int, FloatArray] = {}

    def read(index: int, logits: FloatArray) -> None:
        assert index not in found
        found[index] = logits

    before = backend.decoded
    walk = Walk(pool, backend.append, rows, read, keep=keep)
    walk.run()
    for index, logits in enumerate(one_by_one(rows)):
        np.testing.assert_array_equal(found[index], logits)
    assert walk.spent[0].decoded == backend.decoded - before
    assert backend.open_sequences == len(pool.held)
    for held in pool.held:
        assert backend.length(held.sequence) == held.n_cells == count_cells(held.units)
    return walk


units: st.SearchStrategy[int | ImageSpan] = st.sampled_from([1, 2, 3, CAT, DOG])
rows_strategy = st.lists(
    st.lists(units, min_size=1, max_size=7).map(tuple), min_size=1, max_size=12
)


@given(
    several=st.lists(rows_strategy, min_size=1, max_size=4),
    max_sequences=st.integers(1, 9),
    data=st.data(),
)
def test_equal_to_one_by_one_walk_after_walk(
    several: list[list[Units]], max_sequences: int, data: st.DataObject
) -> None:
    longest = max(count_cells(row) for rows in several for row in rows)
    n_ctx = data.draw(st.integers(longest, longest + 40))
    backend = backend_of(n_ctx=n_ctx, max_sequences=max_sequences)
    pool = PrefixPool(backend, data.draw(st.none() | st.integers(0, 30)))
    for rows in several:
        walked(pool, backend, rows, data.draw(st.lists(st.integers(0, len(rows) - 1))))
    pool.forget()
    assert backend.open_sequences == 0
    assert backend.free_cells == n_ctx


@given(rows=rows_strategy)
def test_cells_are_the_tree_when_sequences_suffice(rows: list[Units]) -> None:
    backend = backend_of()
    walk = walked(PrefixPool(backend), backend, rows)
    assert walk.spent[0].decoded == tree_size(build_tree(rows))
    assert walk.spent[0].reused == 0


@given(rows=rows_strategy)
def test_rows_that_were_kept_are_not_decoded_again(rows: list[Units]) -> None:
    backend = backend_of()
    pool = PrefixPool(backend)
    walked(pool, backend, rows, range(len(rows)))
    again = walked(pool, backend, rows)
    # Logits come from decoding, so of each row the last unit is decoded again.
    assert again.spent[0].decoded == sum(count_cells(row[-1:]) for row in set(rows))
    assert again.spent[0].decoded + again.spent[0].reused == tree_size(build_tree(rows))


@given(rows=rows_strategy, after=st.integers(0, 20), keep=st.booleans())
def test_a_failure_anywhere_leaves_nothing_lent(rows: list[Units], after: int, keep: bool) -> None:
    class BrokenError(Exception):
        pass

    class BrokenBackend(ScriptedBackend):
        def append(
            self, appends: Sequence[Append], cancel: CancelToken | None = None
        ) -> list[FloatArray | None]:
            if self.batches >= after:
                raise BrokenError
            return super().append(appends, cancel)

    backend = BrokenBackend(hashed, options=EngineOptions(max_sequences=4))
    pool = PrefixPool(backend)
    walk = Walk(pool, backend.append, rows, lambda *_: None, keep=range(len(rows)) if keep else ())
    with suppress(BrokenError):
        walk.run()
    assert backend.open_sequences == len(pool.held)
    pool.forget()
    assert (backend.open_sequences, pool.free_sequences) == (0, 4)


def test_leaves_are_decoded_side_by_side() -> None:
    rows = [(1, 1, 1, k, k) for k in range(2, 12)]
    backend = backend_of()
    walked(PrefixPool(backend), backend, rows)
    assert backend.batches == 2  # the stem, and all leaves at once


def test_prompts_that_share_nothing_are_decoded_side_by_side() -> None:
    # Both orders of a pair, for several pictures.
    rows = [(k, k, k, 20 + order, k) for k in range(2, 8) for order in (0, 1)]
    backend = backend_of()
    walked(PrefixPool(backend), backend, rows)
    assert backend.batches == 2  # all stems at once, and all leaves


def test_lines_with_rows_inside_are_decoded_side_by_side() -> None:
    # What pointwise levels look like: each response's answer, and "1" behind it, where 10 begins.
    rows = [(1, 1, k, 9, *tail) for k in range(2, 6) for tail in ((), (8,))]
    backend = backend_of()
    walked(PrefixPool(backend), backend, rows)
    assert backend.batches == 3


def test_a_batch_that_is_large_enough_gets_no_further_tree() -> None:
    rows = [(k, *([1] * 300)) for k in range(2, 8)]
    backend = backend_of()
    walked(PrefixPool(backend), backend, rows)
    assert backend.batches == 3


def test_batches_shrink_to_the_free_cells() -> None:
    rows = [(1, 1, 1, *([k] * 10)) for k in range(2, 12)]
    backend = backend_of(n_ctx=3 + 25)
    walked(PrefixPool(backend), backend, rows)
    assert backend.batches == 1 + 5  # two leaves fit at a time
    assert backend.decoded == 3 + 100


def test_pairs_need_three_sequences_to_decode_nothing_twice() -> None:
    rows = [(CAT, 1, i, i, j, j) for i in range(2, 6) for j in range(2, 6) if i != j]
    backend = backend_of(max_sequences=3)
    walked(PrefixPool(backend), backend, rows)
    assert backend.decoded == tree_size(build_tree(rows)) == 3 + 1 + 4 * 2 + 12 * 2


def test_what_two_owners_share_counts_for_the_first() -> None:
    rows = [(CAT, 1, 2, 3), (CAT, 1, 2, 4), (CAT, 1, 5)]
    backend = backend_of()
    walk = Walk(PrefixPool(backend), backend.append, rows, lambda *_: None, owners=[0, 0, 1])
    walk.run()
    first, second = walk.spent
    assert (first.decoded, first.reused) == (4 + 1 + 2, 0)
    assert (second.decoded, second.reused) == (1, 4)


def test_what_nobody_wants_any_more_is_not_decoded() -> None:
    rows = [(CAT, 1, k) for k in range(2, 6)]
    backend = backend_of(max_sequences=2)
    read: list[int] = []
    walk = Walk(
        PrefixPool(backend),
        backend.append,
        rows,
        lambda row, _: read.append(row),
        wanted=lambda row: not read,
    )
    walk.run()
    assert read == [0]
    assert backend.decoded == 5


def test_the_longest_beginning_is_found_however_the_walk_gets_there() -> None:
    backend = backend_of()
    pool = PrefixPool(backend)
    walked(pool, backend, [(CAT, 1, 1, 2, 2, 2)], [0])
    walked(pool, backend, [(CAT, 1, 3, 3)], [0])
    # Another picture in front keeps the tree from being one line.
    rows = [(DOG, 1), (CAT, 1, 1, 2, 9), (CAT, 1, 3, 9)]
    before = backend.decoded
    walked(pool, backend, rows)
    assert backend.decoded - before == 3 + 1 + 1 + 1


def test_the_least_recently_used_give_way() -> None:
    backend = backend_of(n_ctx=12)
    pool = PrefixPool(backend)
    walked(pool, backend, [(1, 1, 1, 1)], [0])
    walked(pool, backend, [(2, 2, 2, 2)], [0])
    walked(pool, backend, [(1, 1, 1, 5)])
    walked(pool, backend, [(3, 3, 3, 3, 3)])
    assert [held.units[0] for held in pool.held] == [1]


def test_the_beginning_of_what_is_kept_is_not_kept_as_well() -> None:
    backend = backend_of()
    pool = PrefixPool(backend)
    walked(pool, backend, [(1, 2)], [0])
    walked(pool, backend, [(1, 2, 3)], [0])
    assert [held.units for held in pool.held] == [(1, 2, 3)]


def test_overflow_names_what_is_needed_and_what_fits() -> None:
    with pytest.raises(
        ContextOverflowError, match=r"needs 75 tokens .* has 50 available"
    ) as caught:
        check_fit([(CAT, *range(70))], 2, 50)
    assert "beside the 3 tokens of the picture, 47 tokens of text fit" in caught.value.message
    assert "the text has 72" in caught.value.message
    assert "smaller picture" in caught.value.hint


def test_overflow_without_pictures_does_not_speak_of_them() -> None:
    with pytest.raises(ContextOverflowError, match=r"available: 5 tokens of text fit") as caught:
        check_fit([(1,), tuple(range(9))], 0, 5)
    assert "picture" not in str(caught.value)
