"""Rows decoded as a tree give what rows decoded one by one give."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.backends.base import (
    Append,
    Cancelled,
    CancelToken,
    FloatArray,
    ImageSpan,
    TextSpan,
)
from edgecritic.backends.options import EngineOptions
from edgecritic.backends.scripted import History, ScriptedBackend
from edgecritic.errors import ContextOverflowError
from edgecritic.judging.trie import Node, Row, build_tree, decode_rows, row_length

PICTURES = {key: np.ones((3, 8), dtype=np.float32) for key in ("cat", "dog")}


def hashed(history: History) -> Mapping[int, float]:
    rng = np.random.default_rng(zlib.crc32(repr(history).encode()))
    return dict(enumerate(rng.normal(size=8)))


def backend_of(
    *, n_ctx: int = 4096, max_sequences: int = 32, n_batch: int = 512
) -> ScriptedBackend:
    options = EngineOptions(n_ctx=n_ctx, max_sequences=max_sequences, n_batch=n_batch)
    return ScriptedBackend(hashed, options=options)


def row(*units: int | str) -> Row:
    """A row of one-token spans and pictures, so that span borders never fall together."""
    return tuple(
        ImageSpan(unit, PICTURES[unit]) if isinstance(unit, str) else TextSpan((unit,))
        for unit in units
    )


def one_by_one(rows: Sequence[Row]) -> list[FloatArray]:
    backend = backend_of()
    results = []
    for spans in rows:
        sequence = backend.open_sequence()
        (logits,) = backend.append([Append(sequence, spans)])
        assert logits is not None
        results.append(logits)
        backend.close_sequence(sequence)
    return results


def tree_size(nodes: Sequence[Node]) -> int:
    return sum(node.n_cells + tree_size(node.children) for node in nodes)


units: st.SearchStrategy[int | str] = st.sampled_from([1, 2, 3, "cat", "dog"])
# Few different units and short rows: nearly all rows share something, many end inside others.
rows_strategy = st.lists(
    st.lists(units, min_size=1, max_size=7).map(lambda some: row(*some)), min_size=1, max_size=12
)


@given(rows=rows_strategy)
def test_the_tree_holds_every_row_and_shares_every_prefix(rows: list[Row]) -> None:
    prefixes = {
        tuple(span.key if isinstance(span, ImageSpan) else span.tokens for span in spans[:end])
        for spans in rows
        for end in range(1, len(spans) + 1)
    }
    lengths = {key: len(features) for key, features in PICTURES.items()}
    expected = sum(lengths[prefix[-1]] if isinstance(prefix[-1], str) else 1 for prefix in prefixes)
    assert tree_size(build_tree(rows)) == expected


@given(rows=rows_strategy, max_sequences=st.integers(1, 9), data=st.data())
def test_equal_to_one_by_one(rows: list[Row], max_sequences: int, data: st.DataObject) -> None:
    keep = data.draw(st.none() | st.integers(0, len(rows) - 1))
    longest = max(row_length(spans) for spans in rows)
    n_ctx = data.draw(st.integers(longest, longest + 30))
    backend = backend_of(n_ctx=n_ctx, max_sequences=max_sequences)
    found: dict[int, FloatArray] = {}

    def read(index: int, logits: FloatArray) -> None:
        assert index not in found
        found[index] = logits

    decoded = decode_rows(backend, rows, read, keep=keep)
    for index, logits in enumerate(one_by_one(rows)):
        np.testing.assert_array_equal(found[index], logits)
    assert decoded.cells == backend.decoded
    if keep is None:
        assert decoded.kept is None
        assert backend.open_sequences == 0
        assert backend.free_cells == n_ctx
    else:
        assert decoded.kept is not None
        assert backend.open_sequences == 1
        assert backend.length(decoded.kept) == row_length(rows[keep])
        (continued,) = (
            [None]
            if backend.length(decoded.kept) == n_ctx
            else backend.append([Append(decoded.kept, (TextSpan((7,)),))])
        )
        if continued is not None:
            expected = one_by_one([(*rows[keep], TextSpan((7,)))])[0]
            np.testing.assert_array_equal(continued, expected)


@given(rows=rows_strategy, data=st.data())
def test_cells_are_the_tree_when_sequences_suffice(rows: list[Row], data: st.DataObject) -> None:
    keep = data.draw(st.none() | st.integers(0, len(rows) - 1))
    backend = backend_of()
    decoded = decode_rows(backend, rows, lambda *_: None, keep=keep)
    assert decoded.cells == tree_size(build_tree(rows))


@given(rows=rows_strategy, base=st.lists(units, min_size=1, max_size=4))
def test_rows_behind_a_base_continue_it(rows: list[Row], base: list[int | str]) -> None:
    backend = backend_of(max_sequences=2)
    sequence = backend.open_sequence()
    backend.append([Append(sequence, row(*base))])
    found: dict[int, FloatArray] = {}
    decode_rows(backend, rows, found.__setitem__, base=sequence)
    expected = one_by_one([(*row(*base), *spans) for spans in rows])
    for index, logits in enumerate(expected):
        np.testing.assert_array_equal(found[index], logits)
    assert backend.open_sequences == 1
    assert backend.length(sequence) == row_length(row(*base))


@given(rows=rows_strategy, after=st.integers(0, 20), keep_last=st.booleans())
def test_a_failure_anywhere_leaves_no_sequence_open(
    rows: list[Row], after: int, keep_last: bool
) -> None:
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
    try:
        decoded = decode_rows(
            backend, rows, lambda *_: None, keep=len(rows) - 1 if keep_last else None
        )
    except BrokenError:
        assert backend.open_sequences == 0
    else:
        assert backend.open_sequences == (decoded.kept is not None)


def test_leaves_are_decoded_side_by_side() -> None:
    rows = [row(1, 1, 1, k, k) for k in range(2, 12)]
    backend = backend_of()
    decode_rows(backend, rows, lambda *_: None)
    assert backend.batches == 2  # the stem, and all leaves at once


def test_lines_with_rows_inside_are_decoded_side_by_side() -> None:
    # What pointwise levels look like: each response's answer, and "1" behind it, where 10 begins.
    rows = [row(1, 1, k, 9, *tail) for k in range(2, 6) for tail in ((), (8,))]
    backend = backend_of()
    decode_rows(backend, rows, lambda *_: None)
    assert backend.batches == 3


def test_batches_shrink_to_the_free_cells() -> None:
    rows = [row(1, 1, 1, *([k] * 10)) for k in range(2, 12)]
    backend = backend_of(n_ctx=3 + 25)
    decode_rows(backend, rows, lambda *_: None)
    assert backend.batches == 1 + 5  # two leaves fit at a time
    assert backend.decoded == 3 + 100


def test_pairs_need_three_sequences_to_decode_nothing_twice() -> None:
    rows = [row("cat", 1, i, i, j, j) for i in range(2, 6) for j in range(2, 6) if i != j]
    backend = backend_of(max_sequences=3)
    decoded = decode_rows(backend, rows, lambda *_: None)
    assert decoded.cells == tree_size(build_tree(rows)) == 3 + 1 + 4 * 2 + 12 * 2


def test_overflow_names_what_is_needed_and_what_fits() -> None:
    backend = backend_of(n_ctx=50)
    with pytest.raises(
        ContextOverflowError, match=r"needs 75 tokens .* has 50 available"
    ) as caught:
        decode_rows(backend, [row("cat", *range(70))], lambda *_: None, keep=0, reserve=2)
    assert "beside the 3 tokens of the picture, 47 tokens of text fit" in caught.value.message
    assert "the text has 72" in caught.value.message
    assert "smaller picture" in caught.value.hint
    assert backend.decoded == 0


def test_overflow_without_pictures_does_not_speak_of_them() -> None:
    with pytest.raises(ContextOverflowError, match=r"available: 5 tokens of text fit") as caught:
        decode_rows(backend_of(n_ctx=5), [row(1), row(*range(9))], lambda *_: None)
    assert "picture" not in str(caught.value)


def test_cancelled_before_the_first_batch() -> None:
    cancel = CancelToken()
    cancel.cancel()
    backend = backend_of()
    with pytest.raises(Cancelled):
        decode_rows(backend, [row(1, 2)], lambda *_: None, cancel=cancel)
    assert (backend.decoded, backend.open_sequences) == (0, 0)


def test_a_row_without_tokens_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        build_tree([(TextSpan(()),)])
