"""Pictures to spans: tiles are packed as they come from the tower."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgecritic.backends.base import Cancelled, CancelToken
from edgecritic.backends.scripted import ScriptedBackend
from edgecritic.errors import ArtifactError
from edgecritic.pictures import PictureEncoder, VisionProfile
from edgecritic.vision import ImageGeometry, pack_features, tile

TILE = 28
GEOMETRY = ImageGeometry(TILE, TILE // 2, ((84, 84), (28, 112)), anyres_max=2)
NEWLINE = np.full(8, -1, dtype=np.float32)


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def encoder(geometry: ImageGeometry = GEOMETRY) -> tuple[PictureEncoder, ScriptedBackend]:
    backend = ScriptedBackend(lambda history: {})
    return PictureEncoder(backend, VisionProfile(geometry, NEWLINE, "tower")), backend


@pytest.mark.parametrize("size", [(84, 84), (80, 60), (112, 28), (9, 84)])
def test_features_are_those_of_all_tiles_together(size: tuple[int, int]) -> None:
    pictures, backend = encoder()
    (span,) = pictures.spans(noise(*size))
    tiled = tile(noise(*size), GEOMETRY)
    expected = pack_features(backend.encode_tiles(tiled.tiles), tiled, GEOMETRY, NEWLINE)
    assert np.array_equal(span.features, expected)
    assert not span.features.flags.writeable


def test_cancelled_between_tiles() -> None:
    pictures, backend = encoder()
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        pictures.spans(noise(84, 84), cancel, lambda done, total: done < 3 or cancel.cancel())
    assert backend.tiles == 3
    assert len(pictures.spans(noise(84, 84))) == 1


def test_a_tower_of_another_geometry_is_told_before_all_is_encoded() -> None:
    pictures, backend = encoder(ImageGeometry(TILE, TILE // 4, ((TILE * 40, TILE),)))
    with pytest.raises(ArtifactError, match="shape \\(4, 8\\) for tile 1 of 41, not \\(16, 8\\)"):
        pictures.spans(noise(10, 400))
    assert backend.tiles == 1
