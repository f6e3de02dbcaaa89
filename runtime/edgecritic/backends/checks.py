"""What every engine checks of a request before it takes a cell or computes anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecritic.backends.base import Append, TextSpan, UInt8Array
from edgecritic.errors import ImageError, InputError


def check_appends(appends: Sequence[Append], *, n_vocab: int, n_embd: int) -> None:
    """Check token ids and feature shapes.

    Raises:
        InputError: an id outside the vocabulary, or features of another width.
    """
    for append in appends:
        for span in append.spans:
            if isinstance(span, TextSpan):
                if span.tokens and not 0 <= min(span.tokens) <= max(span.tokens) < n_vocab:
                    raise InputError(
                        f"a token id of sequence {append.sequence} is outside the vocabulary "
                        f"of {n_vocab}",
                        "tokenize with the same backend",
                    )
            elif span.features.ndim != 2 or span.features.shape[1] != n_embd:
                raise InputError(
                    f"features of image {span.key} have shape {span.features.shape}, "
                    f"expected (n, {n_embd})",
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
