"""Two small asset packs with everything a scene can ask for, drawn on the spot."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgecritic_train.data.pack import Concept, PackManifest, Photo, slug, write_pack
from edgecritic_train.data.scans import GARMENT_NAMES

ANIMALS = ("dog", "cat", "horse", "owl", "crab", "ant", "frog", "whale")
FOODS = ("apple", "onion", "bagel", "taco", "cookie", "carrot", "lime", "egg")
VEHICLES = ("car", "boat", "train", "rocket", "tram", "truck", "sled", "canoe")
HELD_OUT = ("zebra", "mango", "tractor", "goat", "pretzel", "yacht", "rose", "tulip")
SUITS = ("clubs", "diamonds", "hearts", "spades")
RANKS = ("ace", "two", "seven", "queen")
COUNTRIES = tuple(f"{first}{last}" for first in "BCDFGKLM" for last in ("ania", "oria", "istan"))


def _concepts() -> tuple[Concept, ...]:
    """Each name is a group of its own, so that no two are confusable."""
    table = [("animal", ANIMALS), ("food", FOODS), ("vehicle", VEHICLES)]
    made = [
        Concept(n, f"{n}s", "an" if n[0] in "aeiou" else "a", category, False, n)
        for category, names in table
        for n in names
    ]
    made += [
        Concept(n, f"{n}s", "a", ("animal", "food", "vehicle")[i % 3], True, n)
        for i, n in enumerate(HELD_OUT)
    ]
    return tuple(made)


def _webp(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=True)
    return out.getvalue()


def _picture(name: str, style: str) -> bytes:
    rng = np.random.default_rng(sum(map(ord, name + style)))
    image = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        left, top = rng.integers(0, 30, 2).tolist()
        colour = (*rng.integers(0, 256, 3).tolist(), 255)
        draw.ellipse((left, top, left + 30, top + 18), fill=colour)
    return _webp(image)


def _array(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _stack(labels: int, side: int, seed: int) -> dict[str, bytes]:
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(labels, dtype=np.uint8), 3)
    images = np.zeros((len(names), side, side), np.uint8)
    images[:, side // 4 : -side // 4, side // 4 : -side // 4] = rng.integers(
        120, 256, (len(names), side // 2, side // 2), np.uint8
    )
    return {"images": _array(images), "labels": _array(names)}


def _pack(
    path: Path, part: str, styles: dict[str, tuple[str, ...]], decks: tuple[str, ...]
) -> Path:
    test = part == "test"
    members: dict[str, bytes] = {}
    for style, names in styles.items():
        members |= {f"sprites/{style}/{slug(n)}.webp": _picture(n, style) for n in names}
    flag_style = "openmoji" if test else "twemoji"
    members |= {f"flags/{flag_style}/{slug(c)}.webp": _picture(c, flag_style) for c in COUNTRIES}
    cards = tuple(f"{rank} of {suit}" for rank in RANKS for suit in SUITS)
    for deck in decks:
        members |= {f"cards/{deck}/{slug(c)}.webp": _picture(c, deck) for c in cards}
    for name, labels, side in [
        *([("digits-heldout", 10, 28), ("digits-sklearn", 10, 8)] if test else []),
        *([] if test else [("digits-train", 10, 28)]),
        (f"garments-{part}", 10, 28),
    ]:
        for what, content in _stack(labels, side, len(name)).items():
            members[f"arrays/{name}-{what}.npy"] = content
    photos = tuple(Photo(f"{n}.webp", f"A {n}.") for n in ("fox", "hen", "cow", "seal"))
    if test:
        members |= {f"photos/{photo.file}": _picture(photo.file, "photo") for photo in photos}
    default = ImageFont.load_default(20)
    assert isinstance(default, ImageFont.FreeTypeFont)
    members[f"fonts/{part}.ttf"] = default.font_bytes
    words = (
        ("table", "river", "music", "stone") if test else ("open", "closed", "exit", "north", "tea")
    )
    manifest = PackManifest(
        name=part,
        concepts=_concepts(),
        sprites=styles,
        fonts={f"{part}-font": f"{part}.ttf"},
        font_part="heldout" if test else "train",
        words={"heldout" if test else "train": words},
        garments=GARMENT_NAMES,
        flags={flag_style: COUNTRIES},
        cards=dict.fromkeys(decks, cards),
        photos=photos if test else (),
    )
    write_pack(path, manifest, list(members.items()))
    return path


def write_packs(folder: Path) -> tuple[Path, Path]:
    """Write a training and a test pack."""
    names = tuple(concept.name for concept in _concepts())
    train = _pack(
        folder / "assets-train.zip",
        "train",
        {"noto": names, "twemoji": names, "noto-2": names[:4]},
        ("white", "simple"),
    )
    test = _pack(
        folder / "assets-test.zip",
        "test",
        {"openmoji": names, "openmoji-2": names[:4], "photo": names},
        ("ornamental",),
    )
    return train, test
