"""What every engine checks of a request before it takes a cell or computes anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecritic.backends.base import Append, BackendInfo, ImageSpan, UInt8Array
from edgecritic.errors import ImageError, InputError


def check_appends(appends: Sequence[Append], info: BackendInfo) -> None:
    """Check token ids and feature shapes.

    Raises:
        InputError: an id outside the vocabulary, features of another width, or features in a
            grid where the engine places them in a line, or the other way round.
    """
    n_vocab = info.n_vocab
    for append in appends:
        for span in append.spans:
            if isinstance(span, ImageSpan):
                _check_features(span, info)
            elif span.tokens and not 0 <= min(span.tokens) <= max(span.tokens) < n_vocab:
                raise InputError(
                    f"a token id of sequence {append.sequence} is outside the vocabulary "
                    f"of {n_vocab}",
                    "tokenize with the same backend",
                )


def _check_features(span: ImageSpan, info: BackendInfo) -> None:
    shape = span.features.shape
    if len(shape) != 2 or shape[1] != info.n_embd:
        raise InputError(
            f"features of image {span.key} have shape {shape}, expected (n, {info.n_embd})",
            "encode the image with the same critic",
        )
    if (span.grid is not None) is not info.grid_positions or (
        span.grid is not None and span.grid[0] * span.grid[1] != shape[0]
    ):
        wanted = "rows and columns" if info.grid_positions else "no rows and columns"
        raise InputError(
            f"{shape[0]} features of image {span.key} have the grid {span.grid}, and this "
            f"language model's positions have {wanted}",
            "encode the image with the same critic",
        )


def check_token(token: int, n_vocab: int) -> None:
    """Check one token id.

    Raises:
        InputError: it is outside the vocabulary.
    """
    if not 0 <= token < n_vocab:
        raise InputError(
            f"token {token} is outside the vocabulary of {n_vocab}",
            "tokenize with the same backend",
        )


def check_picture_sides(tiles: UInt8Array, cell_size: int, most_cells: int) -> None:
    """Check that tiles are (n, H, W, 3) uint8 whose sides are multiples of `cell_size`.

    Args:
        tiles: to be checked.
        cell_size: side in pixels of what becomes one feature.
        most_cells: features of one of them at most.

    Raises:
        ImageError: they have another shape or type.
    """
    sides = tiles.shape[1:3]
    whole = tiles.ndim == 4 and tiles.shape[3] == 3 and tiles.dtype == np.uint8
    cells = [divmod(side, cell_size) for side in sides]
    rest = any(left or not count for count, left in cells)
    if not whole or rest or cells[0][0] * cells[1][0] > most_cells:
        raise ImageError(
            f"pictures of shape {tiles.shape} and type {tiles.dtype}: the vision tower takes "
            f"(n, H, W, 3) of uint8, sides multiples of {cell_size}, at most {most_cells} "
            "features each",
            "resize the picture by the bundle's image geometry",
        )


def check_tiles(tiles: UInt8Array, size: int) -> None:
    """Check that tiles are (n, size, size, 3) uint8.

    Raises:
        ImageError: they have another shape or type.
    """
    if tiles.ndim != 4 or tiles.shape[1:] != (size, size, 3) or tiles.dtype != np.uint8:
        raise ImageError(
            f"tiles of shape {tiles.shape} and type {tiles.dtype}, "
            f"the vision tower takes (n, {size}, {size}, 3) of uint8",
            "cut the image into tiles of the tower's size",
        )
