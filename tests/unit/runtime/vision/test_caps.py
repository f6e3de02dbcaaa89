"""Caps on tiles and image tokens: less detail, the geometry as exact as before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from edgecritic.errors import InputError
from edgecritic.vision import (
    ImageGeometry,
    NativeGeometry,
    capped,
    loses_detail,
    tile,
    token_count,
    token_grid,
)
from hashed_critic import PROFILE, hashed_critic

GRID = tuple((28 * rows, 28 * cols) for rows in range(1, 5) for cols in range(1, 5))
TILES = ImageGeometry(tile_size=28, patch_size=14, pinpoints=GRID)
NATIVE = NativeGeometry(patch_size=14, merge_size=2, min_pixels=4 * 784, max_pixels=64 * 784)
sizes = st.tuples(st.integers(30, 400), st.integers(30, 400))


@given(sizes, st.integers(1, 20))
@example((71, 85), 9)
def test_no_picture_takes_more_tiles_than_the_cap(size: tuple[int, int], cap: int) -> None:
    used = capped(TILES, cap, None)
    assert isinstance(used, ImageGeometry)
    picture = tile(Image.new("RGB", (size[1], size[0])), used)
    assert picture.grid[0] * picture.grid[1] <= cap
    own = tile(Image.new("RGB", (size[1], size[0])), TILES)
    if own.grid[0] * own.grid[1] <= cap:  # what fits under the cap is as it was
        assert np.array_equal(picture.tiles, own.tiles)
        assert not loses_detail(size, TILES, used)
    else:
        assert loses_detail(size, TILES, used)
        # Not always fewer tokens than without a cap: other tiles may be padded less.
        cells, rows = 4 * (1 + cap), 2 * max(picture.grid)
        assert token_count(size, used) <= cells + rows  # the base view, tiles, a newline a row


@given(sizes, st.integers(4, 80))
def test_no_native_picture_takes_more_tokens_than_the_cap(size: tuple[int, int], cap: int) -> None:
    used = capped(NATIVE, None, cap)
    assert isinstance(used, NativeGeometry)
    rows, columns = token_grid(size, used)
    if (rows, columns) == token_grid(size, NATIVE):
        assert not loses_detail(size, NATIVE, used)
    else:
        assert loses_detail(size, NATIVE, used)
        # A side keeps at least one cell, however thin the picture is.
        assert rows * columns <= max(cap, rows, columns)


@pytest.mark.parametrize(
    ("geometry", "caps", "told"),
    [
        (replace(TILES, pinpoints=((28, 56), (56, 28))), (1, None), "at least 2"),
        (TILES, (None, 100), "max_tiles"),
        (NATIVE, (4, None), "max_image_tokens"),
        (NATIVE, (None, 3), "at least 4"),
    ],
)
def test_caps_that_cannot_be_kept(
    geometry: ImageGeometry | NativeGeometry, caps: tuple[int | None, int | None], told: str
) -> None:
    with pytest.raises(InputError) as caught:
        capped(geometry, *caps)
    assert told in caught.value.hint


def test_judgements_say_whether_detail_was_lost() -> None:
    profile = PROFILE.capped(1, None)
    critic, backend = hashed_critic(profile)
    wide, small = Image.new("RGB", (80, 40)), Image.new("RGB", (20, 20))
    verdict = critic.score(wide, "?", "x", rationale=False)
    assert (verdict.detail, backend.tiles) == ("reduced", 2)
    assert critic.score(small, "?", "x").detail == "full"
    assert critic.score([wide, wide], "?", "x").detail == "full"  # several are one tile each anyway
    assert critic.score(None, "?", "x").detail == "full"
    assert critic.compare(wide, "?", "x", "y").detail == "reduced"
    for method in ("pairwise", "adaptive"):
        ranking = critic.rank(wide, "?", ["x", "y"], method=method)
        assert {preference.detail for _, _, preference in ranking.preferences} == {"reduced"}
    assert critic.rank(wide, "?", ["x", "y"], method="pointwise").verdicts[0].detail == "reduced"
    whole, _ = hashed_critic()
    assert whole.score(wide, "?", "x").detail == "full"


def test_features_of_capped_and_whole_pictures_are_not_mixed_up() -> None:
    critic, _ = hashed_critic()
    shared, _ = hashed_critic(PROFILE.capped(1, None), cache=critic.cache)
    wide = Image.new("RGB", (80, 40))
    more, fewer = (
        c.score(wide, "?", "x", rationale=False).usage.image_tokens for c in (critic, shared)
    )
    assert more > fewer


def test_a_critic_of_text_cannot_be_capped() -> None:
    with pytest.raises(InputError, match="text only"):
        replace(PROFILE, vision=None).capped(1, None)
