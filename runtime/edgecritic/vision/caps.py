"""Less detail for more speed: caps on what a picture may take, and whether one took any."""

from __future__ import annotations

from dataclasses import replace

from edgecritic.errors import InputError
from edgecritic.vision.geometries import Geometry
from edgecritic.vision.geometry import ImageGeometry, Size
from edgecritic.vision.native import NativeGeometry, fitted_size
from edgecritic.vision.tiling import select_best_resolution


def capped(geometry: Geometry, max_tiles: int | None, max_image_tokens: int | None) -> Geometry:
    """A geometry that gives a picture no more than a cap.

    Tiles: the canvases of at most `max_tiles` tiles stay, and a picture takes the best of them, as
    it would of a critic that was made with no others. Pictures at their own resolution are shrunk
    to at most `max_image_tokens`.

    Args:
        geometry: the bundle's.
        max_tiles: of a canvas, the base view not counted; None for no cap.
        max_image_tokens: of a picture; None for no cap.

    Raises:
        InputError: a cap is too small for any picture, or the geometry has no such thing.
    """
    if isinstance(geometry, ImageGeometry):
        if max_image_tokens is not None:
            raise InputError(
                "this critic sees pictures in tiles, whose number is capped, not their tokens'",
                "give max_tiles (--max-tiles)",
            )
        return geometry if max_tiles is None else _fewer_tiles(geometry, max_tiles)
    if max_tiles is not None:
        raise InputError(
            "this critic sees pictures at their own resolution, not in tiles",
            "give max_image_tokens (--max-image-tokens)",
        )
    return geometry if max_image_tokens is None else _fewer_tokens(geometry, max_image_tokens)


def _fewer_tiles(geometry: ImageGeometry, max_tiles: int) -> ImageGeometry:
    area = geometry.tile_size**2
    tiles = [height * width // area for height, width in geometry.pinpoints]
    if max_tiles < min(tiles):
        raise InputError(
            f"max_tiles is {max_tiles}, and the critic's smallest canvas has {min(tiles)}",
            f"give at least {min(tiles)}",
        )
    fitting = zip(geometry.pinpoints, tiles, strict=True)
    return replace(geometry, pinpoints=tuple(p for p, n in fitting if n <= max_tiles))


def _fewer_tokens(geometry: NativeGeometry, max_image_tokens: int) -> NativeGeometry:
    cell = geometry.cell_size**2
    least = -(-geometry.min_pixels // cell)
    if max_image_tokens < least:
        raise InputError(
            f"max_image_tokens is {max_image_tokens}, and the critic's smallest picture has "
            f"{least} tokens",
            f"give at least {least}",
        )
    return replace(geometry, max_pixels=min(geometry.max_pixels, max_image_tokens * cell))


def loses_detail(size: Size, own: Geometry, used: Geometry) -> bool:
    """Whether a lone picture is seen in less detail than the critic's own geometry gives it.

    Args:
        size: (height, width) of the picture, in pixels.
        own: the bundle's geometry.
        used: what `capped` made of it.
    """
    if isinstance(own, NativeGeometry):
        return isinstance(used, NativeGeometry) and fitted_size(size, own) != fitted_size(
            size, used
        )
    return isinstance(used, ImageGeometry) and (
        select_best_resolution(size, own.pinpoints) != select_best_resolution(size, used.pinpoints)
    )
