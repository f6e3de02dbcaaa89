"""Maps of scores that never turn two scores round: isotonic regression in few steps."""

from __future__ import annotations

import numpy as np

from edgecritic_bench.tables import Floats

LEAST_BLOCK = 8
"""Rows behind each step at least: a step on fewer follows chance."""


def isotonic_knots(
    raw: Floats, gold: Floats, least: int = LEAST_BLOCK
) -> tuple[tuple[float, float], ...]:
    """Knots of the monotone map that is nearest to gold, in squares.

    Args:
        raw: (n,) scores.
        gold: (n,) what they should have been.
        least: rows behind each knot.

    Returns:
        (raw, corrected) means of each step, both ascending; one knot where nothing ascends.

    Source: pool adjacent violators, M. Ayer et al., Annals of Mathematical Statistics 26 (1955);
        steps of fewer rows than wanted are pooled with the nearer neighbour afterwards.
    """
    order = np.argsort(raw, kind="stable")
    blocks: list[list[float]] = []  # rows, sum of raw, sum of gold
    for x, y in zip(raw[order].tolist(), gold[order].tolist(), strict=True):
        blocks.append([1.0, x, y])
        while len(blocks) > 1 and _height(blocks[-2]) >= _height(blocks[-1]):
            _pool(blocks, len(blocks) - 2)
    while len(blocks) > 1 and min(block[0] for block in blocks) < least:
        small = min(range(len(blocks)), key=lambda k: blocks[k][0])
        gaps = {
            left: _height(blocks[left + 1]) - _height(blocks[left])
            for left in (small - 1, small)
            if 0 <= left < len(blocks) - 1
        }
        _pool(blocks, min(gaps, key=lambda left: gaps[left]))
    return tuple((x / n, y / n) for n, x, y in blocks)


def _height(block: list[float]) -> float:
    return block[2] / block[0]


def _pool(blocks: list[list[float]], left: int) -> None:
    """Make one of a block and the next."""
    right = blocks.pop(left + 1)
    blocks[left] = [a + b for a, b in zip(blocks[left], right, strict=True)]
