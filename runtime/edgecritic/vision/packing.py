"""Vision features in the order the language model reads them, and how many there will be."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgecritic.errors import ArtifactError
from edgecritic.vision.geometry import ImageGeometry, Size
from edgecritic.vision.tiling import FloatArray, TiledImage, select_best_resolution

IndexArray: TypeAlias = npt.NDArray[np.intp]


def token_count(size: Size, geometry: ImageGeometry, *, single: bool = False) -> int:
    """Image tokens of a picture, known before anything is encoded.

    Args:
        size: (height, width) of the picture, in pixels.
        geometry: the bundle's.
        single: as for `tile`.

    Raises:
        ImageError: the picture is too thin for every canvas.
    """
    base = geometry.patches_per_side**2
    if single:
        return base + 1
    canvas = select_best_resolution(size, geometry.pinpoints)
    rows, cols = (side // geometry.tile_size * geometry.patches_per_side for side in canvas)
    top, left = _margins(size, (rows, cols))
    rows, cols = _limited((rows - 2 * top, cols - 2 * left), geometry)
    return base + rows * (cols + 1)


def canvas_tokens(canvas: Size, geometry: ImageGeometry) -> int:
    """The most image tokens that a picture takes on one canvas, whatever its shape.

    Not always those of a picture that fills it: one a little thinner may escape being shrunk.

    Args:
        canvas: (height, width) in pixels, one of the geometry's pinpoints.
        geometry: the bundle's.
    """
    side = geometry.patches_per_side
    rows, cols = (length // geometry.tile_size * side for length in canvas)
    shapes = [(rows, width) for width in range(1, cols + 1)]
    shapes += [(height, cols) for height in range(1, rows)]
    limited = (_limited(shape, geometry) for shape in shapes)
    return side**2 + max(height * (width + 1) for height, width in limited)


def pack_features(
    features: Iterable[FloatArray],
    tiled: TiledImage,
    geometry: ImageGeometry,
    image_newline: FloatArray,
) -> FloatArray:
    """Base view, then the grid stitched, unpadded, limited, with a newline behind every row.

    Args:
        features: n_tiles times (patches, d) float32, projected, in the order of `tiled.tiles`.
            They are taken one by one as they are needed, and the tiles of two rows are held.
        tiled: the picture the features belong to.
        geometry: the bundle's.
        image_newline: (d,) float32, the learned row separator.

    Returns:
        (n_tokens, d) float32, with `token_count` rows.

    Raises:
        ArtifactError: the features do not have the geometry's shape.

    Source: transformers, `LlavaOnevisionModel.pack_image_features`.
    """
    side, width = geometry.patches_per_side, image_newline.size
    tiles = _checked(features, len(tiled.tiles), (side * side, width))
    base = next(tiles)
    if len(tiled.tiles) == 1:
        deque(tiles, maxlen=0)
        return np.concatenate((base, image_newline[None]))

    grid_rows, grid_cols = tiled.grid
    margins = _margins(tiled.original_size, (grid_rows * side, grid_cols * side))
    content = _Content(tiles, tiled.grid, side, margins)
    rows, cols = _limited(content.shape, geometry)
    packed = np.empty((len(base) + rows * (cols + 1), width), dtype=np.float32)
    packed[: len(base)] = base
    lines = packed[len(base) :].reshape(rows, cols + 1, width)
    _resize_into(lines[:, :-1], content)
    lines[:, -1] = image_newline
    deque(tiles, maxlen=0)  # those of which nothing is left are of the right shape, too
    return packed


def _checked(
    features: Iterable[FloatArray], count: int, shape: tuple[int, int]
) -> Iterator[FloatArray]:
    """The features of tiles, as many as there must be, of the shape that they must have."""
    hint = "the mmproj file does not fit the bundle's image geometry; export the bundle again"
    number = 0
    for number, one in enumerate(features, start=1):
        if one.shape != shape or number > count:
            raise ArtifactError(
                f"the vision tower gave features of shape {one.shape} for tile {number} of "
                f"{count}, not {shape}",
                hint,
            )
        yield one
    if number < count:
        raise ArtifactError(
            f"the vision tower gave features of {number} tiles, not of {count}", hint
        )


class _Content:
    """The picture's own features, read row by row where the tower left them: never stitched.

    Rows are asked for from the top down: a row, or the one below it.

    Args:
        tiles: (patches, d) each, row by row of the grid.
        grid: (rows, cols) of the tiles.
        side: features along a side of a tile.
        margins: rows to drop above and below, columns to drop left and right.

    Attributes:
        shape: (rows, cols) of features.
    """

    def __init__(
        self,
        tiles: Iterator[FloatArray],
        grid: tuple[int, int],
        side: int,
        margins: tuple[int, int],
    ) -> None:
        self._tiles = tiles
        self._n_cols = grid[1]
        self._side = side
        self._top, self._left = margins
        self._held: dict[int, list[FloatArray]] = {}
        self._n_read = 0  # rows of tiles
        self.shape = grid[0] * side - 2 * self._top, grid[1] * side - 2 * self._left

    def row(self, index: int, out: FloatArray, weight: np.float32 | None = None) -> None:
        """Write the (cols, d) features of one row, all multiplied by a weight if there is one."""
        above, line = divmod(self._top + index, self._side)
        for column, tile in enumerate(self._row_of_tiles(above)):
            start = column * self._side - self._left  # in `out`
            first, last = max(start, 0), min(start + self._side, self.shape[1])
            if first >= last:
                continue
            at = line * self._side - start
            piece = tile[at + first : at + last]
            if weight is None:
                out[first:last] = piece
            else:
                np.multiply(piece, weight, out=out[first:last])

    def _row_of_tiles(self, row: int) -> list[FloatArray]:
        while self._n_read <= row:
            self._held[self._n_read] = list(islice(self._tiles, self._n_cols))
            self._held.pop(self._n_read - 2, None)
            self._n_read += 1
        return self._held[row]


def _margins(size: Size, features: tuple[int, int]) -> tuple[int, int]:
    """Feature rows to drop above and below, and columns to drop left and right.

    A picture thinner than two features may lose all of its own; so it does in training.
    """
    height, width = size
    rows, cols = features
    if width / height > cols / rows:
        return (rows - int(round(height * (cols / width), 7))) // 2, 0
    return 0, (cols - int(round(width * (rows / height), 7))) // 2


def _limited(features: tuple[int, int], geometry: ImageGeometry) -> tuple[int, int]:
    """Rows and columns left of a grid that holds more than `anyres_max` tiles' features."""
    rows, cols = features
    if geometry.anyres_max is None:
        return rows, cols
    ratio = math.sqrt(rows * cols / (geometry.anyres_max * geometry.patches_per_side**2))
    if ratio <= 1.1:
        return rows, cols
    return max(1, int(rows // ratio)), max(1, int(cols // ratio))


def _resize_into(target: FloatArray, content: _Content) -> None:
    """Bilinear resize to (h, w, d) by half-pixel centres and without antialiasing.

    Row by row in the same four buffers, since a 7B's features (hundreds of MB) take longer to
    allocate than to compute.
    Source: torch's `interpolate(mode="bilinear", align_corners=False)`.
    """
    if target.shape[:2] == content.shape:
        for row, line in enumerate(target):
            content.row(row, line)
        return
    upper, lower, row_weight = _neighbours(target.shape[0], content.shape[0])
    left, right, col_weight = _neighbours(target.shape[1], content.shape[1])
    col_weight = col_weight[:, None]
    line = np.empty((content.shape[1], target.shape[2]), dtype=np.float32)
    near = np.empty(target.shape[1:], dtype=np.float32)
    other, far = np.empty_like(line), np.empty_like(near)
    for row, weight in enumerate(row_weight):
        content.row(upper[row], line, 1 - weight)
        content.row(lower[row], other, weight)
        line += other
        # "clip" writes without a buffer in between; no index is out of range.
        np.take(line, left, axis=0, out=near, mode="clip")
        np.take(line, right, axis=0, out=far, mode="clip")
        near *= 1 - col_weight
        far *= col_weight
        np.add(near, far, out=target[row])


def _neighbours(n_target: int, n_source: int) -> tuple[IndexArray, IndexArray, FloatArray]:
    """The two source indices that every target index lies between, and the second one's weight.

    torch's kernel takes the step in float32 and computes the position by a fused multiply-add,
    rounded once: float64 up to the last cast gives the same bits, while plain float32 or float64
    differs from it by up to 1e-5 of a feature.
    """
    step = float(np.float32(n_source) / np.float32(n_target))
    centres = step * (np.arange(n_target) + 0.5) - 0.5
    position = np.maximum(centres, 0).astype(np.float32)
    first = position.astype(np.intp)
    second = np.minimum(first + 1, n_source - 1)
    return first, second, position - first.astype(np.float32)
