"""Vision features in the order the language model reads them, and how many there will be."""

from __future__ import annotations

import math
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
    features: FloatArray, tiled: TiledImage, geometry: ImageGeometry, image_newline: FloatArray
) -> FloatArray:
    """Base view, then the grid stitched, unpadded, limited, with a newline behind every row.

    Args:
        features: (n_tiles, patches, d) float32, projected, in the order of `tiled.tiles`.
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
    expected = (len(tiled.tiles), side * side, width)
    if features.shape != expected:
        raise ArtifactError(
            f"the vision tower gave features of shape {features.shape}, not {expected}",
            "the mmproj file does not fit the bundle's image geometry; export the bundle again",
        )
    base = features[0]
    if len(features) == 1:
        return np.concatenate((base, image_newline[None]))

    rows, cols = tiled.grid
    stitched = features[1:].reshape(rows, cols, side, side, width).swapaxes(1, 2)
    stitched = stitched.reshape(rows * side, cols * side, width)
    top, left = _margins(tiled.original_size, (rows * side, cols * side))
    content = stitched[top : rows * side - top, left : cols * side - left]

    rows, cols = _limited((content.shape[0], content.shape[1]), geometry)
    packed = np.empty((len(base) + rows * (cols + 1), width), dtype=np.float32)
    packed[: len(base)] = base
    lines = packed[len(base) :].reshape(rows, cols + 1, width)
    _resize_into(lines[:, :-1], content)
    lines[:, -1] = image_newline
    return packed


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


def _resize_into(target: FloatArray, source: FloatArray) -> None:
    """Bilinear resize of (h, w, d) by half-pixel centres and without antialiasing.

    Row by row, so that a 7B's features (hundreds of MB) are not held a third time.
    Source: torch's `interpolate(mode="bilinear", align_corners=False)`.
    """
    if target.shape == source.shape:
        target[:] = source
        return
    upper, lower, row_weight = _neighbours(target.shape[0], source.shape[0])
    left, right, col_weight = _neighbours(target.shape[1], source.shape[1])
    col_weight = col_weight[:, None]
    for row, weight in enumerate(row_weight):
        line = source[upper[row]] * (1 - weight) + source[lower[row]] * weight
        target[row] = line[left] * (1 - col_weight) + line[right] * col_weight


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
