"""Captioned photographs, for testing only."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from edgecritic_train.data.clipart import read_table
from edgecritic_train.data.pack import AssetError
from edgecritic_train.data.rasterise import fit
from edgecritic_train.data.sources import PHOTOS, fetch

PHOTO_SIDE = 160
# Longer captions are jokes and lessons rather than names of what is seen.
_LONGEST_CAPTION = 6


def photographs(cache: Path) -> dict[str, dict[str, Path]]:
    """The listed photographs, by concept.

    Args:
        cache: folder that keeps unpacked packages between builds.

    Returns:
        Concept name -> file stem -> PNG path.

    Raises:
        AssetError: the package cannot be fetched or lacks a listed file.
    """
    home = fetch(PHOTOS, cache) / "usr/share/tuxpaint/stamps"
    found: dict[str, dict[str, Path]] = {}
    for concept, stems in read_table("photos.txt"):
        for stem in stems.split(","):
            path = home / f"{stem.strip()}.png"
            if not path.is_file():
                raise AssetError(
                    f"{PHOTOS.name} has no photograph {path.name}", hint="mend photos.txt"
                )
            found.setdefault(concept, {})[path.stem] = path
    return found


def caption_of(photo: Path, concept_phrase: str) -> str:
    """What a photograph shows: its own English caption if that is short, else the concept.

    Args:
        photo: PNG file; its caption is the first line of the text file beside it.
        concept_phrase: article and name, e.g. "a stethoscope".
    """
    text = photo.with_suffix(".txt")
    first = text.read_text(encoding="utf-8").partition("\n")[0].strip() if text.is_file() else ""
    plain = first.endswith(".") and len(first.split()) <= _LONGEST_CAPTION
    plain = plain and not re.match("An [^aeiouAEIOU]", first)
    return first if plain else f"{concept_phrase[:1].upper()}{concept_phrase[1:]}."


def read_photo(photo: Path) -> Image.Image:
    """The photograph, RGBA, cropped to what is visible, longer side 160 px."""
    with Image.open(photo) as picture:
        return fit(picture.convert("RGBA"), PHOTO_SIDE)
