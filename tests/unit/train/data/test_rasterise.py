"""Small pictures from drawings."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from edgecritic_train.data.pack import AssetError
from edgecritic_train.data.rasterise import SPRITE_SIDE, fit, render_svg, webp

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" '


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ('width="20" height="10" viewBox="0 0 200 100"', (160, 80)),
        ('width="50" height="400" viewBox="0 0 50 400"', (20, 160)),
        ('width="210mm" height="105mm"', (160, 80)),
    ],
)
def test_the_longer_side_is_fixed(size: str, expected: tuple[int, int]) -> None:
    picture = render_svg(f'{HEAD}{size}><rect width="9999" height="9999" fill="red"/></svg>')
    assert picture.mode == "RGBA"
    assert picture.size == expected
    assert picture.getpixel((5, 5)) == (255, 0, 0, 255)


def test_a_broken_drawing_is_an_asset_error() -> None:
    with pytest.raises(AssetError, match="cannot draw"):
        render_svg("<svg")


def test_the_empty_margin_is_cropped() -> None:
    picture = Image.new("RGBA", (160, 160))
    picture.paste((0, 200, 0, 255), (40, 60, 80, 80))
    small = fit(picture)
    assert small.size == (SPRITE_SIDE, SPRITE_SIDE // 2)
    assert np.asarray(small)[..., 3].min() > 200


def test_hidden_colours_do_not_bleed() -> None:
    # White lies hidden under full transparency, as drawing programs leave it.
    picture = Image.new("RGBA", (160, 160), (255, 255, 255, 0))
    picture.paste((10, 10, 10, 255), (0, 0, 160, 77))
    picture.putpixel((159, 159), (10, 10, 10, 255))
    pixels = np.asarray(fit(picture)).astype(int)
    assert pixels[pixels[..., 3] > 40][:, :3].max() < 60


def test_an_invisible_picture_is_refused() -> None:
    with pytest.raises(AssetError, match="fully transparent"):
        fit(Image.new("RGBA", (8, 8), (255, 0, 0, 3)))


def test_webp_keeps_alpha() -> None:
    picture = Image.new("RGBA", (32, 32), (200, 30, 30, 255))
    picture.putalpha(Image.linear_gradient("L").resize((32, 32)))
    with Image.open(io.BytesIO(webp(picture))) as decoded:
        assert np.array_equal(np.asarray(decoded.getchannel("A")), np.asarray(picture)[..., 3])
