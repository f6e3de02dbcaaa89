"""Image geometry: the numbers of a bundle that say how a picture becomes tiles and tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, Protocol, TypeAlias, cast, get_args

from edgecritic.errors import ArtifactError
from edgecritic.vision.fields import channels, check_names, integer, items

Size: TypeAlias = tuple[int, int]
"""(height, width), in pixels unless a name says otherwise."""

Resample: TypeAlias = Literal["bicubic", "bilinear"]

# A bundle is foreign JSON: these bounds keep a damaged one from asking for gigabytes of tiles.
_MAX_TILE_SIZE = 4096
_MAX_TILES = 256


class Normalisation(Protocol):
    """How pixels in [0, 1] become a tower's input: minus the mean, by the standard deviation."""

    @property
    def mean(self) -> tuple[float, float, float]: ...

    @property
    def std(self) -> tuple[float, float, float]: ...


def check_pixels(pixels: Normalisation, resample: object) -> None:
    """Check what all geometries say about pixels.

    Raises:
        ValueError: a number is out of range, or there is no such filter.
    """
    if not all(0 <= value <= 1 for value in pixels.mean):
        raise ValueError(f"mean must be within 0 to 1, not {pixels.mean}")
    if not all(0 < value < float("inf") for value in pixels.std):
        raise ValueError(f"std must be above 0, not {pixels.std}")
    if resample not in get_args(Resample):
        raise ValueError(f"resample must be one of {get_args(Resample)}, not {resample!r}")


def digest_of(fields_: Mapping[str, object]) -> str:
    """SHA-256 (hex) of the canonical JSON of a geometry."""
    canonical = json.dumps(fields_, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def unusable(error: ValueError) -> ArtifactError:
    """The error of a bundle whose geometry is `error`."""
    return ArtifactError(
        f"the bundle's image geometry cannot be used: {error}",
        "fetch the bundle again, or export it again",
    )


@dataclass(frozen=True, slots=True)
class ImageGeometry:
    """LLaVA-OneVision's AnyRes numbers.

    Args:
        tile_size: side of a square tile, and of the vision tower's input, in pixels.
        patch_size: side of a vision patch in pixels, at most `tile_size`.
        pinpoints: (height, width) in pixels of every canvas that a picture may be laid on;
            multiples of `tile_size`. Of equally good ones the first wins.
        anyres_max: canvases of more features than this many tiles hold are shrunk (9 in
            "anyres_max_9"); None never shrinks.
        mean: channel means in [0, 1]; also the colour around a lone padded-square tile.
        std: channel standard deviations, above 0, on the same scale.
        resample: Pillow filter for every resize.

    Raises:
        ValueError: a number is out of its range.

    Source: arXiv:2408.03326, section 3.2; field names follow transformers' configurations.
    """

    tile_size: int
    patch_size: int
    pinpoints: tuple[Size, ...]
    anyres_max: int | None = 9
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    resample: Resample = "bicubic"

    def __post_init__(self) -> None:
        if not 1 <= self.tile_size <= _MAX_TILE_SIZE:
            raise ValueError(f"tile_size must be 1 to {_MAX_TILE_SIZE}, not {self.tile_size}")
        if not 1 <= self.patch_size <= self.tile_size:
            raise ValueError(f"patch_size must be 1 to tile_size, not {self.patch_size}")
        if not self.pinpoints:
            raise ValueError("pinpoints must name at least one (height, width)")
        for height, width in self.pinpoints:
            rows, cols = height // self.tile_size, width // self.tile_size
            whole = (rows * self.tile_size, cols * self.tile_size) == (height, width)
            if not whole or not 1 <= rows * cols <= _MAX_TILES or rows < 1:
                raise ValueError(
                    f"pinpoint {height}x{width} is not 1 to {_MAX_TILES} whole tiles "
                    f"of {self.tile_size}"
                )
        if self.anyres_max is not None and self.anyres_max < 1:
            raise ValueError(f"anyres_max must be at least 1 or null, not {self.anyres_max}")
        check_pixels(self, self.resample)

    @property
    def patches_per_side(self) -> int:
        """Feature rows (and columns) of one tile; a remainder of pixels is dropped."""
        return self.tile_size // self.patch_size

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON, for cache keys and bundle checks."""
        return digest_of(self.to_dict())

    def to_dict(self) -> dict[str, object]:
        """JSON-ready form that `from_dict` reads back."""
        return {
            "tile_size": self.tile_size,
            "patch_size": self.patch_size,
            "pinpoints": [list(pinpoint) for pinpoint in self.pinpoints],
            "anyres_max": self.anyres_max,
            "mean": list(self.mean),
            "std": list(self.std),
            "resample": self.resample,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> ImageGeometry:
        """Read the form that `to_dict` writes; every field must be there, and no other.

        Raises:
            ArtifactError: a field is missing, unknown, of a wrong type or out of range.
        """
        names = {field.name for field in fields(cls)}
        try:
            check_names(data, names)
            limit = data["anyres_max"]
            return cls(
                tile_size=integer("tile_size", data["tile_size"]),
                patch_size=integer("patch_size", data["patch_size"]),
                pinpoints=_pinpoints(data["pinpoints"]),
                anyres_max=None if limit is None else integer("anyres_max", limit),
                mean=channels("mean", data["mean"]),
                std=channels("std", data["std"]),
                resample=cast(Resample, data["resample"]),
            )
        except ValueError as error:
            raise unusable(error) from error


def _pinpoints(value: object) -> tuple[Size, ...]:
    pairs = [items("a pinpoint", pair) for pair in items("pinpoints", value)]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"every pinpoint must be [height, width], not {value!r}")
    return tuple((integer("height", h), integer("width", w)) for h, w in pairs)
