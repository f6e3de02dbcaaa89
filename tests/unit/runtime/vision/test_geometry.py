import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.errors import ArtifactError
from edgecritic.vision import ImageGeometry

GEOMETRY = ImageGeometry(tile_size=192, patch_size=16, pinpoints=((192, 192), (192, 384)))


@st.composite
def geometries(draw):
    tile_size = draw(st.integers(1, 512))
    tiles = st.tuples(st.integers(1, 16), st.integers(1, 16))
    pinpoints = draw(st.lists(tiles, min_size=1, max_size=6))
    channel = st.floats(0, 1)
    spread = st.floats(0.01, 4)
    return ImageGeometry(
        tile_size=tile_size,
        patch_size=draw(st.integers(1, tile_size)),
        pinpoints=tuple((rows * tile_size, cols * tile_size) for rows, cols in pinpoints),
        anyres_max=draw(st.none() | st.integers(1, 36)),
        mean=draw(st.tuples(channel, channel, channel)),
        std=draw(st.tuples(spread, spread, spread)),
        resample=draw(st.sampled_from(["bicubic", "bilinear"])),
    )


@given(geometries())
def test_round_trip_through_json(geometry):
    again = ImageGeometry.from_dict(json.loads(json.dumps(geometry.to_dict())))
    assert again == geometry
    assert again.digest == geometry.digest


@given(geometries(), geometries())
def test_digest_tells_geometries_apart(one, other):
    assert (one.digest == other.digest) == (one == other)


def test_patches_per_side_drops_the_remainder():
    real = ImageGeometry(tile_size=384, patch_size=14, pinpoints=((384, 384),))
    assert real.patches_per_side == 27
    assert GEOMETRY.patches_per_side == 12


def test_geometry_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GEOMETRY.tile_size = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile_size": 0}, "tile_size must be 1 to 4096"),
        ({"tile_size": 5000}, "tile_size must be 1 to 4096"),
        ({"tile_size": True}, "tile_size must be an integer"),
        ({"tile_size": "192"}, "tile_size must be an integer"),
        ({"patch_size": 193}, "patch_size must be 1 to tile_size"),
        ({"patch_size": 0}, "patch_size must be 1 to tile_size"),
        ({"pinpoints": []}, "at least one"),
        ({"pinpoints": None}, "pinpoints must be a list"),
        ({"pinpoints": [192, 192]}, "a pinpoint must be a list"),
        ({"pinpoints": [[192]]}, r"\[height, width\]"),
        ({"pinpoints": [[192, 193]]}, "pinpoint 192x193 is not"),
        ({"pinpoints": [[0, 192]]}, "pinpoint 0x192 is not"),
        ({"pinpoints": [[-192, -192]]}, "pinpoint -192x-192 is not"),
        ({"pinpoints": [[192 * 257, 192]]}, "pinpoint 49344x192 is not"),
        ({"pinpoints": [[192, 192.0]]}, "width must be an integer"),
        ({"anyres_max": 0}, "anyres_max must be at least 1"),
        ({"anyres_max": "9"}, "anyres_max must be an integer"),
        ({"mean": [0.5, 0.5]}, "mean must be three numbers"),
        ({"mean": [0.5, 0.5, "0.5"]}, "mean must be three numbers"),
        ({"mean": [0.5, 0.5, 1.5]}, "mean must be within 0 to 1"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean must be within 0 to 1"),
        ({"std": [0.5, 0.5, 0]}, "std must be above 0"),
        ({"std": [0.5, 0.5, float("inf")]}, "std must be above 0"),
        ({"std": [0.5, 0.5, True]}, "std must be three numbers"),
        ({"resample": "lanczos"}, "resample must be one of"),
        ({"resample": ["bicubic"]}, "resample must be one of"),
        ({"scale": 2}, r"unknown fields \['scale'\]"),
    ],
)
def test_damaged_json_names_the_field(change, message):
    with pytest.raises(ArtifactError, match=message) as caught:
        ImageGeometry.from_dict({**GEOMETRY.to_dict(), **change})
    assert caught.value.hint


def test_missing_field_is_named():
    data = GEOMETRY.to_dict()
    del data["mean"]
    with pytest.raises(ArtifactError, match=r"missing fields \['mean'\]"):
        ImageGeometry.from_dict(data)


def test_no_limit_survives_json():
    geometry = dataclasses.replace(GEOMETRY, anyres_max=None)
    assert ImageGeometry.from_dict(geometry.to_dict()).anyres_max is None
