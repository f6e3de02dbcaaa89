"""Pictures at their own resolution, as Qwen2.5-VL sees them: resized a little, never cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Final, cast

import numpy as np
from PIL import Image

from edgecritic.errors import ImageError
from edgecritic.vision.fields import channels, check_names, integer
from edgecritic.vision.geometry import Resample, Size, check_pixels, digest_of, unusable
from edgecritic.vision.tiling import FILTERS, FloatArray, UInt8Array, pixel_values

CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)
FRAMES: Final = 2
"""Frames that a patch spans; a picture stands for as many equal ones."""
MAX_TOKENS: Final = 16_384
"""Tokens of one picture that a geometry may allow; what Qwen2.5-VL was made for."""
_MAX_SIDE_RATIO: Final = 200
_MAX_PATCH: Final = 128
_MAX_MERGE: Final = 8


@dataclass(frozen=True, slots=True)
class NativeGeometry:
    """The numbers of a tower that takes pictures of any size.

    A picture is resized so that both sides are multiples of patch_size * merge_size and its area
    is within bounds. Each square of merge_size x merge_size patches becomes one token.

    Args:
        patch_size: side of a vision patch, in pixels.
        merge_size: patches along each side of a token.
        min_pixels: smallest area in pixels; smaller pictures are enlarged.
        max_pixels: largest area in pixels; larger pictures are shrunk.
        mean: channel means in [0, 1].
        std: channel standard deviations, above 0, on the same scale.
        resample: Pillow filter.

    Raises:
        ValueError: a number is out of its range.

    Source: arXiv:2409.12191, section 2.1; arXiv:2502.13923, section 2.1.
    """

    KIND: ClassVar[str] = "native"

    patch_size: int
    merge_size: int
    min_pixels: int
    max_pixels: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    resample: Resample = "bicubic"

    def __post_init__(self) -> None:
        if not 1 <= self.patch_size <= _MAX_PATCH:
            raise ValueError(f"patch_size must be 1 to {_MAX_PATCH}, not {self.patch_size}")
        if not 1 <= self.merge_size <= _MAX_MERGE:
            raise ValueError(f"merge_size must be 1 to {_MAX_MERGE}, not {self.merge_size}")
        if not 1 <= self.min_pixels <= self.max_pixels <= MAX_TOKENS * self.cell_size**2:
            raise ValueError(
                f"min_pixels {self.min_pixels} and max_pixels {self.max_pixels} must be ascending "
                f"and at most {MAX_TOKENS * self.cell_size**2}"
            )
        check_pixels(self, self.resample)

    @property
    def cell_size(self) -> int:
        """Side of the square that one token stands for, in pixels."""
        return self.patch_size * self.merge_size

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON, for cache keys and bundle checks."""
        return digest_of(self.to_dict())

    def to_dict(self) -> dict[str, object]:
        """JSON-ready form that `from_dict` reads back."""
        return {
            "kind": self.KIND,
            "patch_size": self.patch_size,
            "merge_size": self.merge_size,
            "min_pixels": self.min_pixels,
            "max_pixels": self.max_pixels,
            "mean": list(self.mean),
            "std": list(self.std),
            "resample": self.resample,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> NativeGeometry:
        """Read the form that `to_dict` writes; every field must be there, and no other.

        Raises:
            ArtifactError: a field is missing, unknown, of a wrong type or out of range.
        """
        try:
            check_names(data, {"kind", *(field.name for field in fields(cls))})
            return cls(
                patch_size=integer("patch_size", data["patch_size"]),
                merge_size=integer("merge_size", data["merge_size"]),
                min_pixels=integer("min_pixels", data["min_pixels"]),
                max_pixels=integer("max_pixels", data["max_pixels"]),
                mean=channels("mean", data["mean"]),
                std=channels("std", data["std"]),
                resample=cast(Resample, data["resample"]),
            )
        except ValueError as error:
            raise unusable(error) from error


def fitted_size(size: Size, geometry: NativeGeometry) -> Size:
    """(height, width) that a picture is resized to, in pixels.

    Args:
        size: (height, width) of the picture, in pixels.
        geometry: the bundle's.

    Raises:
        ImageError: one side is more than 200 times the other.

    Source: Qwen2-VL's image processor; float operations in transformers' order, so that rounding
    falls alike.
    """
    height, width = size
    if max(size) > _MAX_SIDE_RATIO * min(size):
        raise ImageError(
            f"the picture is {width}x{height}: one side is more than {_MAX_SIDE_RATIO} times the "
            "other",
            "crop it, or pad it to a less extreme shape",
        )
    cell = geometry.cell_size
    # round() takes ties to the even number, as the original does.
    fitted = round(height / cell) * cell, round(width / cell) * cell
    if fitted[0] * fitted[1] > geometry.max_pixels:
        shrink = math.sqrt((height * width) / geometry.max_pixels)
        fitted = _each(size, lambda side: max(cell, math.floor(side / shrink / cell) * cell))
    elif fitted[0] * fitted[1] < geometry.min_pixels:
        grow = math.sqrt(geometry.min_pixels / (height * width))
        fitted = _each(size, lambda side: math.ceil(side * grow / cell) * cell)
    return fitted


def _each(size: Size, change: Callable[[int], int]) -> Size:
    return change(size[0]), change(size[1])


def token_grid(size: Size, geometry: NativeGeometry) -> tuple[int, int]:
    """(rows, columns) of a picture's tokens, known before anything is encoded.

    Args:
        size: (height, width) of the picture, in pixels.
        geometry: the bundle's.

    Raises:
        ImageError: as for `fitted_size`.
    """
    height, width = fitted_size(size, geometry)
    return height // geometry.cell_size, width // geometry.cell_size


def resized(image: Image.Image, geometry: NativeGeometry) -> UInt8Array:
    """The picture as the tower takes it, apart from normalisation.

    Args:
        image: mode RGB, as `load_image` returns it.
        geometry: the bundle's.

    Returns:
        (1, H, W, 3) uint8.

    Raises:
        ImageError: as for `fitted_size`.
        ValueError: the image is not RGB.
    """
    if image.mode != "RGB":
        raise ValueError(f"resized wants an RGB image, not mode {image.mode}")
    height, width = fitted_size((image.height, image.width), geometry)
    return np.asarray(image.resize((width, height), FILTERS[geometry.resample]))[None].copy()


def patch_values(picture: UInt8Array, geometry: NativeGeometry) -> FloatArray:
    """Normalised patches as a torch tower takes them (llama.cpp cuts them by itself).

    Args:
        picture: (H, W, 3) uint8, sides multiples of `cell_size`.
        geometry: the bundle's.

    Returns:
        (patches, 3 * FRAMES * patch_size**2) float32; the patches of one token stand together.
    """
    patch, merge = geometry.patch_size, geometry.merge_size
    values = pixel_values(picture[None], geometry)[0]
    rows, columns = values.shape[1] // geometry.cell_size, values.shape[2] // geometry.cell_size
    cut = values.reshape(3, rows, merge, patch, columns, merge, patch)
    # To (row, column, row in the token, column in the token, channel, y, x).
    cut = cut.transpose(1, 4, 2, 5, 0, 3, 6)
    frames = np.repeat(cut[:, :, :, :, :, None], FRAMES, axis=5)
    return frames.reshape(rows * columns * merge**2, -1)
