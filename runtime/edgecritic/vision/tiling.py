"""A picture cut into the tiles that the vision tower sees, as LLaVA-OneVision does it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgecritic.errors import ImageError
from edgecritic.vision.geometry import ImageGeometry, Normalisation, Resample, Size

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
FloatArray: TypeAlias = npt.NDArray[np.float32]

FILTERS: Mapping[Resample, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
"""Pillow's names of the filters."""

_MAX_SQUARE_SIDE = 8192


@dataclass(frozen=True, slots=True, eq=False)
class TiledImage:
    """What one picture gives the vision tower.

    Args:
        tiles: (n, S, S, 3) uint8; first the base view, then the grid row by row.
        grid: (rows, cols) of the tiles after the base view; (0, 0) for a lone tile.
        original_size: (height, width) of the picture in pixels.
    """

    tiles: UInt8Array
    grid: tuple[int, int]
    original_size: Size


def select_best_resolution(size: Size, pinpoints: Sequence[Size]) -> Size:
    """The canvas that keeps most of the picture's pixels and, among those, wastes fewest.

    Args:
        size: (height, width) of the picture, in pixels.
        pinpoints: (height, width) of the canvases to choose from, in pixels.

    Raises:
        ImageError: the picture is so thin that it would vanish on every canvas.

    Source: LLaVA-NeXT; float operations in transformers' order, so that ties fall alike.
    """
    height, width = size
    best: tuple[int, int] | None = None
    best_score = (0, 0)
    for canvas_height, canvas_width in pinpoints:
        scale = min(canvas_width / width, canvas_height / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        score = (kept, kept - canvas_height * canvas_width)
        if score > best_score:
            best, best_score = (canvas_height, canvas_width), score
    if best is None:
        raise ImageError(
            f"the picture is {width}x{height}: scaled to fit, its shorter side has no pixel left",
            "crop it, or pad it to a less extreme shape",
        )
    return best


def tile(image: Image.Image, geometry: ImageGeometry, *, single: bool = False) -> TiledImage:
    """Cut a picture into tiles.

    Args:
        image: mode RGB, as `load_image` returns it.
        geometry: the bundle's.
        single: the request holds several pictures, so each becomes one padded-square tile.

    Raises:
        ImageError: the picture is too thin for every canvas.
        ValueError: the image is not RGB.
    """
    if image.mode != "RGB":
        raise ValueError(f"tile wants an RGB image, not mode {image.mode}")
    size = (image.height, image.width)
    if single:
        square = _padded_square(image, geometry)
        base = _resized(square, (geometry.tile_size, geometry.tile_size), geometry)
        return TiledImage(base[None].copy(), (0, 0), size)

    side = geometry.tile_size
    canvas_size = select_best_resolution(size, geometry.pinpoints)
    rows, cols = canvas_size[0] // side, canvas_size[1] // side
    content = _resized(image, _fit(size, canvas_size), geometry)
    top = (canvas_size[0] - content.shape[0]) // 2
    left = (canvas_size[1] - content.shape[1]) // 2
    canvas = np.zeros((*canvas_size, 3), dtype=np.uint8)  # black around the picture
    canvas[top : top + content.shape[0], left : left + content.shape[1]] = content

    tiles = np.empty((1 + rows * cols, side, side, 3), dtype=np.uint8)
    tiles[0] = _resized(image, (side, side), geometry)
    tiles[1:] = canvas.reshape(rows, side, cols, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    return TiledImage(tiles, (rows, cols), size)


def pixel_values(tiles: UInt8Array, geometry: Normalisation) -> FloatArray:
    """Tiles as a torch or ONNX vision tower takes them (llama.cpp normalises by itself).

    Args:
        tiles: (n, H, W, 3) uint8.
        geometry: the bundle's; its mean and std are used.

    Returns:
        (n, 3, H, W) float32, contiguous.
    """
    scaled = tiles.transpose(0, 3, 1, 2) * np.float32(1 / 255)
    mean = np.array(geometry.mean, dtype=np.float32)[:, None, None]
    std = np.array(geometry.std, dtype=np.float32)[:, None, None]
    return np.ascontiguousarray((scaled - mean) / std)


def _resized(image: Image.Image, size: Size, geometry: ImageGeometry) -> UInt8Array:
    height, width = size
    return np.asarray(image.resize((width, height), FILTERS[geometry.resample]))


def _fit(size: Size, canvas: Size) -> Size:
    """The largest (height, width) of the picture's shape that the canvas holds, rounded up."""
    scale_height, scale_width = canvas[0] / size[0], canvas[1] / size[1]
    if scale_width < scale_height:
        return min(math.ceil(size[0] * scale_width), canvas[0]), canvas[1]
    return canvas[0], min(math.ceil(size[1] * scale_height), canvas[1])


def _padded_square(image: Image.Image, geometry: ImageGeometry) -> Image.Image:
    """The picture in the middle of a square of the mean colour."""
    if max(image.size) > _MAX_SQUARE_SIDE:
        # transformers would allocate the whole square: terabytes for a long thin strip.
        image = image.reduce(math.ceil(max(image.size) / _MAX_SQUARE_SIDE))
    side = max(image.size)
    red, green, blue = (int(value * 255) for value in geometry.mean)
    square = Image.new("RGB", (side, side), (red, green, blue))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
