"""Where spans stand: the numbers that rotary embeddings turn keys and queries by.

In most language models a position is one number. Qwen2.5-VL's has three (M-RoPE): text counts all
of them up together; all features of a picture share one time, and differ in row and column. What
follows a picture begins behind its last row and column, whichever is further.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.backends.base import ImageSpan, Span

PositionArray: TypeAlias = NDArray[np.int32]
AXES = 3
"""Time, row, column."""


def span_positions(span: Span, start: int) -> PositionArray:
    """(3, n) time, row and column of a span's n cells.

    Args:
        span: tokens or features.
        start: its first position.

    Source: arXiv:2409.12191, section 2.1.
    """
    if isinstance(span, ImageSpan) and span.grid is not None:
        rows, columns = span.grid
        offsets = np.zeros((AXES, rows, columns), dtype=np.int32)
        offsets[1] = np.arange(rows)[:, None]
        offsets[2] = np.arange(columns)
        return start + offsets.reshape(AXES, -1)
    positions = np.empty((AXES, len(span)), dtype=np.int32)
    positions[:] = np.arange(start, start + len(span), dtype=np.int32)
    return positions
