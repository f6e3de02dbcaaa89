"""Every picture decoded once: can it be read, how large is it, and what does it show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from edgecritic.errors import CriticError
from edgecritic.vision import Size, content_hash, load_image

_FLAT = 3
"""A picture whose likeness has fewer set or unset bits shows too little to be recognised by it."""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """One picture.

    Attributes:
        size: (height, width) in pixels; None where it cannot be read.
        content: SHA-256 over the pixels, hex.
        likeness: 64 bits that hardly change when a picture is resized or compressed again; None
            where it is too plain to tell.
        error: why it cannot be read.
    """

    size: Size | None = None
    content: str = ""
    likeness: int | None = None
    error: str = ""


def inspect_all(
    sources: Iterable[tuple[str, Path | bytes]], workers: int
) -> Iterator[tuple[str, PictureFacts]]:
    """The facts of pictures by their keys, in the order given.

    Args:
        sources: key, and path or bytes.
        workers: pictures that are decoded at once.
    """
    with ThreadPoolExecutor(max(1, workers), "pictures") as pool:
        yield from pool.map(lambda item: (item[0], inspect(item[1])), sources)


def inspect(source: Path | bytes) -> PictureFacts:
    """The facts of one picture."""
    try:
        picture = load_image(source)
    except CriticError as error:
        return PictureFacts(error=error.message)
    size = (picture.height, picture.width)
    return PictureFacts(size, content_hash(picture), likeness(picture))


def likeness(picture: Image.Image) -> int | None:
    """The difference hash: which of two neighbours is brighter, on a grid of 8 x 9 cells."""
    cells = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = (cells[:, 1:] > cells[:, :-1]).ravel()
    if not _FLAT <= int(bits.sum()) <= bits.size - _FLAT:
        return None
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
