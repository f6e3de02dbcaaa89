"""From vector drawings and large pictures to small sprites."""

from __future__ import annotations

import io

from PIL import Image

from edgecritic_train.data.pack import AssetError

SPRITE_SIDE = 96
_WEBP_QUALITY = 85
# Rendered larger than needed, so that cropping the empty margin still leaves 96 px.
_RENDER_SIDE = 160
# Turns sizes in mm or pt into pixels; without it resvg takes them for empty drawings.
_DPI = 96.0
# Alpha below this is the soft edge of a shadow, not part of the drawing.
_VISIBLE_ALPHA = 12


def render_svg(svg: str) -> Image.Image:
    """Draws an SVG with its longer side at 160 px.

    Args:
        svg: a whole SVG document; its own width and height give the aspect ratio.

    Returns:
        RGBA picture.

    Raises:
        AssetError: resvg cannot parse or draw the document.
    """
    import resvg_py

    try:
        # Both sides at once: resvg keeps the aspect ratio and fits the drawing inside.
        png = bytes(
            resvg_py.svg_to_bytes(
                svg_string=svg,
                width=_RENDER_SIDE,
                height=_RENDER_SIDE,
                dpi=_DPI,
                skip_system_fonts=True,
            )
        )
    except ValueError as cause:
        raise AssetError(f"cannot draw an SVG of {len(svg)} characters: {cause}") from cause
    with Image.open(io.BytesIO(png)) as picture:
        return picture.convert("RGBA")


def fit(picture: Image.Image, side: int = SPRITE_SIDE) -> Image.Image:
    """Crops the transparent margin and scales the longer side to `side` pixels.

    Args:
        picture: RGBA, any size.
        side: longer side of the result in pixels.

    Raises:
        AssetError: nothing in the picture is visible.
    """
    visible = picture.getchannel("A").point(lambda alpha: 255 * (alpha >= _VISIBLE_ALPHA))
    box = visible.getbbox()
    if box is None:
        raise AssetError(f"picture of {picture.size} px is fully transparent")
    cropped = picture.crop(box)
    scale = side / max(cropped.size)
    size = (max(1, round(cropped.width * scale)), max(1, round(cropped.height * scale)))
    # Premultiplied while scaling: hidden colours must not bleed into soft edges.
    return cropped.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")


def webp(picture: Image.Image) -> bytes:
    """Encodes RGBA as lossy WebP with lossless alpha."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_WEBP_QUALITY, method=4)
    return buffer.getvalue()
