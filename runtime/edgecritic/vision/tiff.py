"""TIFF's directory, read before libtiff does: it sets aside a whole tile of any size that it says.

Where a tag occurs twice, Pillow and libtiff do not take the same one, so what Pillow has read says
nothing about what libtiff will do.

Format: TIFF 6.0, section 2, and https://libtiff.gitlab.io/libtiff/specification/bigtiff.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_TILE_WIDTH: Final = 322
_TILE_LENGTH: Final = 323
_INTEGERS: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q"}
# By the number behind the byte order: offset of the directory, number of entries, one entry.
_LAYOUTS: Final = {42: (4, "I", "H", "HHI4s"), 43: (8, "Q", "Q", "HHQ8s")}


def check_directory(data: bytes, max_pixels: int) -> None:
    """Check what the first page's directory makes libtiff set aside.

    Args:
        data: a TIFF file.
        max_pixels: of a tile.

    Raises:
        ValueError: a tag occurs twice, or a tile is larger.
        struct.error: the directory is not in the file.
    """
    seen: set[int] = set()
    tile = {_TILE_WIDTH: 0, _TILE_LENGTH: 0}
    for tag, value in _entries(data):
        if tag in seen:
            raise ValueError(f"the tag {tag} occurs twice")
        seen.add(tag)
        if tag in tile:
            tile[tag] = value
    width, length = tile.values()
    if min(width, length) < 0 or width * length > max_pixels:
        raise ValueError(f"its tiles are {width}x{length}; the limit is {max_pixels:,} pixels")


def _entries(data: bytes) -> Iterator[tuple[int, int]]:
    """Tags and their first value; 0 for what is no whole number."""
    order = "<" if data[:2] == b"II" else ">"
    (magic,) = struct.unpack_from(f"{order}H", data, 2)
    if magic not in _LAYOUTS:
        return  # Pillow forgives a wrong order, libtiff does not
    at, offset, number, entry = _LAYOUTS[magic]
    (start,) = struct.unpack_from(order + offset, data, at)
    (n,) = struct.unpack_from(order + number, data, start)
    start += struct.calcsize(order + number)
    size = struct.calcsize(order + entry)
    for place in range(start, start + n * size, size):
        tag, kind, count, field = struct.unpack_from(order + entry, data, place)
        form = order + _INTEGERS.get(kind, "")
        if struct.calcsize(form) * count > len(field):  # then it says where the values are
            (away,) = struct.unpack(order + offset, field)
            field = data[away : away + 8]
        yield tag, struct.unpack_from(form, field)[0] if kind in _INTEGERS else 0
