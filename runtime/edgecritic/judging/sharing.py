"""What several prompts begin with, decoded once and kept while they are asked for bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecritic.backends.base import Append, Backend, CancelToken, Span, TextSpan
from edgecritic.judging.trie import Row, build_tree, check_fit, row_length


@dataclass(frozen=True, slots=True)
class Beginning:
    """An open sequence that holds what all rows begin with; the caller closes it.

    Attributes:
        sequence: of the backend.
        cells: of the rows that it holds.
    """

    sequence: int
    cells: int

    def rest(self, row: Row) -> Row:
        """What follows in a row."""
        skipped = self.cells
        spans: list[Span] = []
        for span in row:
            if skipped >= len(span):
                skipped -= len(span)
            elif isinstance(span, TextSpan):
                spans.append(TextSpan(span.tokens[skipped:]))
                skipped = 0
            else:  # a picture is never cut: all rows hold the whole of it, or none does
                spans.append(span)
        return tuple(spans)


def decode_beginning(
    backend: Backend, rows: Sequence[Row], cancel: CancelToken | None = None
) -> Beginning | None:
    """Decode what all of `rows` begin with; None where that is nothing.

    Args:
        backend: has no sequences open.
        rows: more than one, none a beginning of all others.
        cancel: stops the decoding.

    Raises:
        ContextOverflowError: one of the rows does not fit; nothing was decoded.
        Cancelled: `cancel` was set.
    """
    check_fit(rows, backend.info.n_ctx)
    top = build_tree(rows)
    if len(top) != 1 or top[0].rows or backend.info.max_sequences < 3:
        return None
    sequence = backend.open_sequence()
    try:
        backend.append([Append(sequence, top[0].spans, logits=False)], cancel)
    except BaseException:
        backend.close_sequence(sequence)
        raise
    return Beginning(sequence, row_length(top[0].spans))
