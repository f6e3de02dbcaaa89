"""TIFF directories that would have libtiff set aside far more than their picture."""

from __future__ import annotations

import struct

import pytest

from edgecritic.errors import ImageError
from edgecritic.vision.decode import load_image

SHORT, LONG, SIGNED = 3, 4, 9
WIDTH, LENGTH, TILE_WIDTH, TILE_LENGTH = 256, 257, 322, 323


def tiff(*more: tuple[int, int, int], order: str = "<", big: bool = False) -> bytes:
    """A grey picture of 100 x 100 in one tile, by its tags (tag, type, value) and no data."""
    tags = [
        *((WIDTH, LONG, 100), (LENGTH, LONG, 100), (258, LONG, 8), (259, LONG, 8), (262, LONG, 1)),
        *((277, LONG, 1), *more, (324, LONG, 8), (325, LONG, 100)),
    ]
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = (
            mark + struct.pack(f"{order}HHHQ", 43, 8, 0, 16) + struct.pack(f"{order}Q", len(tags))
        )
        body = [struct.pack(f"{order}HHQQ", tag, 16, 1, value) for tag, _, value in tags]
    else:
        head = mark + struct.pack(f"{order}HIH", 42, 8, len(tags))
        body = [
            struct.pack(f"{order}HHIHxx" if kind == SHORT else f"{order}HHII", tag, kind, 1, value)
            for tag, kind, value in tags
        ]
    return head + b"".join(body) + bytes(1000)


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("kind", [SHORT, LONG, SIGNED])
def test_a_tile_larger_than_any_picture_is_refused(order: str, big: bool, kind: int) -> None:
    large = tiff((TILE_WIDTH, kind, 30_000), (TILE_LENGTH, kind, 30_000), order=order, big=big)
    with pytest.raises(ImageError, match="tiles are 30000x30000"):
        load_image(large)


def test_values_that_lie_elsewhere_count() -> None:
    away = bytearray(tiff((TILE_WIDTH, LONG, 500), (TILE_LENGTH, LONG, 30_000)))
    struct.pack_into("<HHII", away, 10 + 6 * 12, TILE_WIDTH, 17, 1, 500)  # signed, of 64 bits
    struct.pack_into("<q", away, 500, 30_000)
    with pytest.raises(ImageError, match="tiles are 30000x30000"):
        load_image(bytes(away))


@pytest.mark.parametrize("tag", [WIDTH, 277, TILE_WIDTH])
def test_a_tag_that_occurs_twice_is_refused(tag: int) -> None:
    twice = tiff((TILE_WIDTH, LONG, 16), (TILE_LENGTH, LONG, 16), (tag, LONG, 1))
    with pytest.raises(ImageError, match=f"{tag} occurs twice"):
        load_image(twice)


@pytest.mark.parametrize("damage", [b"", b"\xff" * 4])
def test_a_directory_that_is_not_there_is_an_image_error(damage: bytes) -> None:
    whole = tiff((TILE_WIDTH, LONG, 16), (TILE_LENGTH, LONG, 16))
    with pytest.raises(ImageError):
        load_image(whole[:4] + damage)
