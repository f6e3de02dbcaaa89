"""Fonts and words for pictures with text."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from edgecritic_train.data.concepts import ConceptEntry, in_slot
from edgecritic_train.data.pack import AssetError
from edgecritic_train.data.sources import FONT_SOURCES, Source, fetch

_HELD_OUT_WORDS = 0.2
_SHORTEST, _LONGEST = 3, 8

# Font name -> package and file below usr/share/fonts.
_FILES: dict[str, tuple[str, str]] = {
    "dejavu-sans-bold": ("fonts-dejavu-core", "truetype/dejavu/DejaVuSans-Bold.ttf"),
    "dejavu-serif": ("fonts-dejavu-core", "truetype/dejavu/DejaVuSerif.ttf"),
    "liberation-sans": ("fonts-liberation2", "truetype/liberation2/LiberationSans-Regular.ttf"),
    "liberation-serif": ("fonts-liberation2", "truetype/liberation2/LiberationSerif-Regular.ttf"),
    "liberation-mono": ("fonts-liberation2", "truetype/liberation2/LiberationMono-Bold.ttf"),
    "roboto": ("fonts-roboto-unhinted", "truetype/roboto/unhinted/RobotoTTF/Roboto-Regular.ttf"),
    "roboto-slab-bold": ("fonts-roboto-slab", "opentype/roboto/slab/RobotoSlab-Bold.otf"),
    "open-sans": ("fonts-open-sans", "truetype/open-sans/OpenSans-Regular.ttf"),
    "open-sans-bold": ("fonts-open-sans", "truetype/open-sans/OpenSans-Bold.ttf"),
    "comic-neue-bold": ("fonts-comic-neue", "opentype/comic-neue/ComicNeue-Bold.otf"),
    "fira-code": ("fonts-firacode", "truetype/firacode/FiraCode-Regular.ttf"),
    "cabin": ("fonts-cabin", "opentype/cabin/Cabin-Regular.otf"),
    "comfortaa-bold": ("fonts-comfortaa", "truetype/comfortaa/Comfortaa-Bold.ttf"),
    "lobster": ("fonts-lobster", "opentype/lobster/lobster.otf"),
    "inconsolata": ("fonts-inconsolata", "truetype/inconsolata/Inconsolata.otf"),
    "league-spartan-bold": (
        "fonts-league-spartan",
        "opentype/league-spartan/LeagueSpartan-Bold.otf",
    ),
    "bebas-neue": ("fonts-bebas-neue", "opentype/bebas-neue/BebasNeue-Regular.otf"),
    "dosis-medium": ("fonts-dosis", "opentype/dosis/Dosis-Medium.otf"),
    "courier-prime": ("fonts-courier-prime", "opentype/courier-prime/Courier Prime.otf"),
    "gentium-basic": ("fonts-sil-gentium-basic", "truetype/gentium-basic/GenBasR.ttf"),
    "caladea-bold": ("fonts-crosextra-caladea", "truetype/crosextra/Caladea-Bold.ttf"),
    "b612": ("fonts-b612", "opentype/b612/B612-Regular.otf"),
    "sora-bold": ("fonts-sora", "opentype/sora/Sora-Bold.otf"),
    "kaffeesatz": (
        "fonts-yanone-kaffeesatz",
        "opentype/yanone-kaffeesatz/YanoneKaffeesatz-Regular.otf",
    ),
    "allerta": ("fonts-allerta", "opentype/allerta/allerta_medium.otf"),
    "leckerli-one": ("fonts-leckerli-one", "truetype/leckerli-one/LeckerliOne-Regular.ttf"),
    "cantarell": ("fonts-cantarell", "opentype/cantarell/Cantarell-Regular.otf"),
    "quicksand-bold": ("fonts-quicksand", "truetype/quicksand/Quicksand-Bold.ttf"),
    "karla": ("fonts-karla", "truetype/karla/Karla-Regular.otf"),
    "manrope-bold": ("fonts-manrope", "truetype/manrope/Manrope-Bold.ttf"),
    "mononoki": ("fonts-mononoki", "truetype/mononoki/mononoki-Regular.ttf"),
    "quattrocento": ("fonts-quattrocento", "opentype/quattrocento/Quattrocento-Regular.otf"),
    "national-park": ("fonts-national-park", "opentype/national-park/NationalPark-Regular.otf"),
    "arapey": ("fonts-arapey", "opentype/arapey/Arapey-Regular.otf"),
    "kaushan-script": ("fonts-kaushanscript", "opentype/kaushanscript/KaushanScript-Regular.otf"),
}


def font_files() -> dict[str, tuple[str, str]]:
    """Font name -> package and the file below its ``usr/share/fonts``."""
    return dict(_FILES)


def read_fonts(cache: Path, *, test: bool) -> dict[str, tuple[str, bytes]]:
    """Fetches the fonts of one pack.

    Args:
        cache: folder that keeps unpacked packages between builds.
        test: True for the held-out fonts, False for those of training.

    Returns:
        Font name -> file name in the pack and the font file's bytes.

    Raises:
        AssetError: a package cannot be fetched or lacks its font file.
    """
    wanted = {source.name: source for source in FONT_SOURCES if (source.use == "test") == test}
    return {
        name: _read(name, wanted[package], file, cache)
        for name, (package, file) in _FILES.items()
        if package in wanted
    }


def _read(name: str, source: Source, file: str, cache: Path) -> tuple[str, bytes]:
    path = fetch(source, cache) / "usr/share/fonts" / file
    try:
        return name + path.suffix, path.read_bytes()
    except FileNotFoundError as cause:
        raise AssetError(
            f"{source.name} {source.version} has no font file {file}",
            hint="look up the file's new place in the package and mend lettering.py",
        ) from cause


def split_words(entries: Iterable[ConceptEntry]) -> dict[str, tuple[str, ...]]:
    """Common words of 3 to 8 letters, in two disjoint parts.

    Args:
        entries: concepts whose names are added to the list in ``words.txt``.

    Returns:
        "train" and "heldout" -> sorted lower-case words.
    """
    text = resources.files("edgecritic_train.data").joinpath("words.txt").read_text("utf-8")
    listed = [line for line in text.splitlines() if not line.startswith("#")]
    words = {word for line in listed for word in line.split()}
    words |= {part for entry in entries for part in entry.concept.name.lower().split()}
    usable = sorted(
        word
        for word in words
        if _SHORTEST <= len(word) <= _LONGEST and word.isascii() and word.isalpha()
    )
    held_out = [word for word in usable if in_slot(word, _HELD_OUT_WORDS, "word")]
    return {
        "train": tuple(word for word in usable if word not in set(held_out)),
        "heldout": tuple(held_out),
    }
