"""Builds ``assets-train.zip`` and ``assets-test.zip`` from the sources."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from edgecritic_train.data import clipart
from edgecritic_train.data.concepts import ConceptEntry, load_concepts
from edgecritic_train.data.emoji import Collection, Labels, find_drawings
from edgecritic_train.data.lettering import read_fonts, split_words
from edgecritic_train.data.pack import AssetError, PackManifest, Photo, slug, write_pack
from edgecritic_train.data.photographs import caption_of, photographs, read_photo
from edgecritic_train.data.rasterise import fit, render_svg, webp
from edgecritic_train.data.scans import GARMENT_NAMES, digit_arrays, garment_arrays
from edgecritic_train.data.sources import (
    CLIP_ART,
    EMOJI_SOURCES,
    LABELS,
    PHOTOS,
    SOURCES,
    TEST_STYLE,
    Source,
    fetch,
)

logger = logging.getLogger(__name__)

# A concept drawn in fewer training styles teaches the drawings instead of the thing.
_LEAST_TRAINING_STYLES = 4
_CLIP_ART_STYLE = "openclipart"
_PHOTO_STYLE = "photo"
# Raise when pictures are made in another way, so that cached ones are made again.
_PICTURES_VERSION = "1"

Members = dict[str, bytes]
Drawings = dict[str, dict[str, str]]
"""Style -> picture name -> SVG document."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The concepts that are used, and the emoji and flags that draw them."""

    entries: tuple[ConceptEntry, ...]
    sprites: Drawings
    flags: Drawings


def build_packs(cache: Path, out: Path) -> tuple[Path, Path]:
    """Fetches every source and writes both packs.

    Args:
        cache: folder that keeps packages and pictures between builds.
        out: folder for the packs.

    Returns:
        Paths of the training pack and of the test pack.

    Raises:
        AssetError: a source cannot be fetched or does not hold what it should.
    """
    selection = select(cache)
    logger.info("%d concepts selected", len(selection.entries))
    paths = out / "assets-train.zip", out / "assets-test.zip"
    for path, test in zip(paths, (False, True), strict=True):
        manifest, members = _pack(cache, selection, test=test)
        write_pack(path, manifest, [*_licences(test=test).items(), *members.items()])
        logger.info("wrote %s, %.1f MB", path, path.stat().st_size / 1e6)
    return paths


def select(cache: Path) -> Selection:
    """Chooses the concepts that enough styles draw: the test style and 4 of the 5 others."""
    collections = {
        style: Collection.read(fetch(source, cache)) for style, source in EMOJI_SOURCES.items()
    }
    table = Labels.read(fetch(LABELS, cache))
    chosen, sprites = [], Drawings()
    for entry in load_concepts():
        drawn = find_drawings(entry.labels, table, collections)
        if TEST_STYLE not in drawn or len(drawn) <= _LEAST_TRAINING_STYLES:
            logger.info("left out %r: drawn by %s only", entry.concept.name, sorted(drawn))
            continue
        chosen.append(entry)
        for style, documents in drawn.items():
            _add_views(sprites, style, entry.concept.name, documents)
    flags = Drawings()
    for flag in clipart.flags():
        for style, documents in find_drawings([flag.label], table, collections).items():
            flags.setdefault(style, {})[flag.country] = documents[0]
    return Selection(tuple(chosen), sprites, flags)


def _add_views(drawings: Drawings, style: str, name: str, documents: Iterable[str]) -> None:
    """Files further views of a thing under styles of their own: noto, noto-2, noto-3."""
    for number, document in enumerate(documents, start=1):
        view = style if number == 1 else f"{style}-{number}"
        drawings.setdefault(view, {})[name] = document


def _pack(cache: Path, selection: Selection, *, test: bool) -> tuple[PackManifest, Members]:
    drawings = _drawings(cache, selection, test=test)
    members = Members()
    for folder, styles in drawings.items():
        members |= _drawn(cache, folder, styles)
    photo_sprites, photos, photo_members = _photos(cache, selection) if test else ({}, (), {})
    fonts = read_fonts(cache, test=test)
    members |= photo_members
    members |= {f"fonts/{file}": content for file, content in fonts.values()}
    members |= digit_arrays(cache, test=test) | garment_arrays(cache, test=test)
    part = "heldout" if test else "train"
    manifest = PackManifest(
        name="test" if test else "train",
        concepts=tuple(entry.concept for entry in selection.entries),
        sprites=_names(drawings["sprites"]) | photo_sprites,
        fonts={name: file for name, (file, _) in fonts.items()},
        font_part=part,
        words={part: split_words(selection.entries)[part]},
        garments=GARMENT_NAMES,
        flags=_names(drawings["flags"]),
        cards=_names(drawings["cards"]),
        photos=photos,
    )
    return manifest, members


def _drawings(cache: Path, selection: Selection, *, test: bool) -> dict[str, Drawings]:
    """What one pack draws, by folder; of the clip art the test pack has one deck of cards alone."""
    art = fetch(CLIP_ART, cache)
    sprites = _of_pack(selection.sprites, test=test)
    flags = _of_pack(selection.flags, test=test)
    if not test:
        flags[_CLIP_ART_STYLE] = {
            flag.country: clipart.read_art(art, flag.path) for flag in clipart.flags()
        }
        paths_of = clipart.concept_art()
        for name in [entry.concept.name for entry in selection.entries]:
            documents = [clipart.read_art(art, path) for path in paths_of.get(name, ())]
            _add_views(sprites, _CLIP_ART_STYLE, name, documents)
    decks = (clipart.TEST_DECK,) if test else clipart.TRAIN_DECKS
    cards = {
        deck: {name: clipart.read_art(art, path) for name, path in clipart.cards(deck).items()}
        for deck in decks
    }
    return {"sprites": sprites, "flags": flags, "cards": cards}


def _of_pack(drawings: Drawings, *, test: bool) -> Drawings:
    """The styles of one pack: the test style and its views, or all others."""
    return {
        style: dict(named)
        for style, named in drawings.items()
        if style.startswith(TEST_STYLE) == test
    }


def _names(drawings: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    return {style: tuple(sorted(named)) for style, named in sorted(drawings.items())}


def _drawn(cache: Path, folder: str, drawings: Drawings) -> Members:
    members = Members()
    for style, named in sorted(drawings.items()):
        digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]
        members |= _cached(
            cache / "pictures" / f"{folder}-{style}-{_PICTURES_VERSION}-{digest}.zip",
            partial(_draw_all, f"{folder}/{style}", named),
        )
    return members


def _draw_all(folder: str, named: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for name, svg in sorted(named.items()):
        member = f"{folder}/{slug(name)}.webp"
        try:
            yield member, webp(fit(render_svg(svg)))
        except AssetError as cause:
            raise AssetError(
                f"{member}: {cause.message}", hint="take the drawing out of its table"
            ) from cause


def _cached(path: Path, make: Callable[[], Iterator[tuple[str, bytes]]]) -> Members:
    """The members of a cached zip, which is made first if it is not there."""
    if not path.is_file():
        logger.info("drawing %s", path.stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.partial")
        with zipfile.ZipFile(unfinished, "w") as pictures:
            for name, content in make():
                pictures.writestr(name, content)
        os.replace(unfinished, path)
    with zipfile.ZipFile(path) as pictures:
        return {name: pictures.read(name) for name in pictures.namelist()}


def _photos(
    cache: Path, selection: Selection
) -> tuple[dict[str, tuple[str, ...]], tuple[Photo, ...], Members]:
    """Photographs twice: captioned at 160 px, and as sprites of their concepts at 96 px."""
    concepts = {entry.concept.name: entry.concept for entry in selection.entries}
    styles: dict[str, list[str]] = {}
    photos: list[Photo] = []
    members = Members()
    for name, files in photographs(cache).items():
        concept = concepts.get(name)
        if concept is None:
            continue
        for number, path in enumerate(files.values(), start=1):
            style = _PHOTO_STYLE if number == 1 else f"{_PHOTO_STYLE}-{number}"
            picture = read_photo(path)
            file = f"{slug(name)}-{number}.webp"
            photos.append(Photo(file, caption_of(path, f"{concept.article} {name}".strip())))
            styles.setdefault(style, []).append(name)
            members[f"photos/{file}"] = webp(picture)
            members[f"sprites/{style}/{slug(name)}.webp"] = webp(fit(picture))
    sprites = {style: tuple(sorted(names)) for style, names in styles.items()}
    return sprites, tuple(photos), members


def sources_of_pack(*, test: bool) -> tuple[Source, ...]:
    """The sources whose material is in one of the packs."""
    decks_only = (CLIP_ART,) if test else ()
    used = "test" if test else "train"
    return tuple(s for s in SOURCES if s.use in (used, "both")) + decks_only


def _licences(*, test: bool) -> Members:
    sources = sources_of_pack(test=test)
    table = json.dumps([asdict(source) for source in sources], indent=1, ensure_ascii=False)
    rows = [
        f"| {s.name} | {s.version} | {s.licence} | {s.attribution} | {s.provides} |"
        for s in sources
    ]
    note = (
        f"The photographs come from {PHOTOS.name} under {PHOTOS.licence}; this pack is for "
        "testing and is never part of a trained model.\n\n"
        if test
        else ""
    )
    text = (
        "# Sources of this pack\n\nPictures were scaled, cropped and encoded anew; nothing else "
        f"was changed.\n\n{note}"
        "| package | version | licence | attribution | what |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )
    return {"LICENSES.json": table.encode(), "LICENSES.md": text.encode()}
