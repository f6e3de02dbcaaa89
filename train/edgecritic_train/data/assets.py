"""Ready-made pictures, fonts and words that scenes are composed from.

`Assets.load` opens one or more packs (see `edgecritic_train.data.pack`) and decodes
lazily. Nothing here draws a random number: what to pick is the caller's business.

Command line: ``edgecritic train assets build --cache DIR --out DIR``.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFont

from edgecritic_train.data.pack import AssetError, Concept, PackReader, slug

__all__ = ["AssetError", "Assets", "Concept", "UInt8Array"]

UInt8Array = NDArray[np.uint8]
Part = Literal["train", "heldout"]

_CACHED_PICTURES = 2048  # 96 * 96 * 4 bytes each: at most 75 MB a process
_CACHED_FONTS = 512


class _Pictures(Mapping[str, Image.Image]):
    """Named pictures of one folder, decoded when looked up."""

    def __init__(self, names: tuple[str, ...], decode: Callable[[str], Image.Image]) -> None:
        self._names = dict.fromkeys(names)
        self._decode = decode

    def __getitem__(self, name: str) -> Image.Image:
        if name not in self._names:
            raise KeyError(name)
        return self._decode(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Assets:
    """The union of the loaded packs.

    Pickling keeps only the paths, so a worker process opens the packs anew; a forked
    worker shares the parent's bytes. Returned images are fresh copies: change them freely.

    Attributes:
        concepts: every concept by its name, in name order; the held-out ones too.
        styles: the drawing styles present, e.g. ("emojione", "noto", "openclipart").
    """

    concepts: Mapping[str, Concept]
    styles: tuple[str, ...]

    def __init__(self, readers: tuple[PackReader, ...]) -> None:
        """Merges opened packs; use `Assets.load` instead."""
        self._readers = readers
        self._styles_of: dict[str, dict[str, PackReader]] = {}
        concepts: dict[str, Concept] = {}
        for reader in readers:
            for concept in reader.manifest.concepts:
                if concepts.setdefault(concept.name, concept) != concept:
                    raise AssetError(
                        f"pack {reader.path} describes {concept.name!r} in another way",
                        hint="load packs that were built together",
                    )
            for style, names in reader.manifest.sprites.items():
                for name in names:
                    self._styles_of.setdefault(name, {})[style] = reader
        self.concepts = {name: concepts[name] for name in sorted(concepts)}
        self.styles = tuple(sorted({s for drawn in self._styles_of.values() for s in drawn}))
        self._picture = lru_cache(_CACHED_PICTURES)(self._decode)
        self._font = lru_cache(_CACHED_FONTS)(self._open_font)

    @classmethod
    def load(cls, *packs: str | Path) -> Assets:
        """Opens packs that were built together.

        Args:
            packs: paths of ``assets-train.zip``, ``assets-test.zip`` or both.

        Raises:
            AssetError: no pack is named, one is unreadable, or two disagree.
        """
        if not packs:
            raise AssetError("no asset pack was named", hint="pass the path of assets-train.zip")
        return cls(tuple(PackReader(Path(pack)) for pack in packs))

    def __reduce__(self) -> tuple[Callable[..., Assets], tuple[str, ...]]:
        return Assets.load, tuple(str(reader.path.resolve()) for reader in self._readers)

    def sprite(self, concept: str, style: str) -> Image.Image:
        """One concept drawn in one style: RGBA, at most 96 px on the longer side.

        Raises:
            AssetError: the concept is not drawn in this style.
        """
        drawn = self._styles_of.get(concept, {})
        if style not in drawn:
            raise AssetError(
                f"no sprite of {concept!r} in style {style!r}; it has {sorted(drawn)}",
                hint="ask sprite_styles(concept) first, or load the pack with that style",
            )
        return self._picture(drawn[style], f"sprites/{style}/{slug(concept)}.webp").copy()

    def sprite_styles(self, concept: str) -> tuple[str, ...]:
        """The styles a concept is drawn in, sorted; empty for an unknown concept."""
        return tuple(sorted(self._styles_of.get(concept, ())))

    def digits(self, part: Literal["train", "heldout", "sklearn"]) -> tuple[UInt8Array, UInt8Array]:
        """Handwritten digits, ink 255 on background 0.

        "train" (4,000) and "heldout" (1,000) are 28 x 28 scans of the same collection;
        "sklearn" (1,797) comes from another one and is 8 x 8.

        Returns:
            Images (n, height, width) uint8 and labels (n,) uint8 in 0..9.

        Raises:
            AssetError: the part is in none of the loaded packs.
        """
        return self._array(f"digits-{part}-images"), self._array(f"digits-{part}-labels")

    def garments(
        self, part: Literal["train", "test"]
    ) -> tuple[UInt8Array, UInt8Array, tuple[str, ...]]:
        """Product pictures of clothes, light garment on background 0.

        Returns:
            Images (n, 28, 28) uint8, labels (n,) uint8, and the class names by label.

        Raises:
            AssetError: the part is in none of the loaded packs.
        """
        images = self._array(f"garments-{part}-images")
        labels = self._array(f"garments-{part}-labels")
        names = next(r.manifest.garments for r in self._readers if r.manifest.garments)
        return images, labels, names

    def fonts(self, part: Part) -> tuple[str, ...]:
        """Names of the fonts of a part, sorted; empty when no loaded pack has any."""
        found = (r.manifest.fonts for r in self._readers if r.manifest.font_part == part)
        return tuple(sorted(name for fonts in found for name in fonts))

    def font(self, name: str, size: int) -> ImageFont.FreeTypeFont:
        """A font at a size in pixels; shared, so never change it.

        Raises:
            AssetError: no loaded pack has the font.
        """
        return self._font(name, size)

    def words(self, part: Part) -> tuple[str, ...]:
        """Common English words of 3 to 8 lower-case letters; the parts are disjoint.

        Raises:
            AssetError: no loaded pack has words of this part.
        """
        for reader in self._readers:
            if part in reader.manifest.words:
                return reader.manifest.words[part]
        raise self._missing(f"{part} words")

    @property
    def flag_styles(self) -> tuple[str, ...]:
        """The drawing styles that flags come in, in pack order; "openclipart" is flat."""
        return tuple(style for r in self._readers for style in r.manifest.flags)

    @property
    def decks(self) -> tuple[str, ...]:
        """The decks of playing cards, in pack order."""
        return tuple(deck for r in self._readers for deck in r.manifest.cards)

    def flags(self, style: str = "openclipart") -> Mapping[str, Image.Image]:
        """Country name -> flag, RGBA, at most 96 px wide; decoded when looked up.

        Raises:
            AssetError: no loaded pack has flags in this style.
        """
        for reader in self._readers:
            if style in reader.manifest.flags:
                return self._gallery(reader, f"flags/{style}", reader.manifest.flags[style])
        raise self._missing(f"flags in style {style!r}")

    def cards(self, deck: str = "white") -> Mapping[str, Image.Image]:
        """Playing card, as "queen of hearts" -> RGBA picture; decoded when looked up.

        Raises:
            AssetError: no loaded pack has this deck.
        """
        for reader in self._readers:
            if deck in reader.manifest.cards:
                return self._gallery(reader, f"cards/{deck}", reader.manifest.cards[deck])
        raise self._missing(f"deck {deck!r} of cards")

    def photos(self) -> Iterator[tuple[str, Image.Image]]:
        """Captioned photographs, (caption, RGBA at most 160 px); only in the test pack."""
        for reader in self._readers:
            for photo in reader.manifest.photos:
                yield photo.caption, self._decode(reader, f"photos/{photo.file}")

    def _gallery(
        self, reader: PackReader, folder: str, names: tuple[str, ...]
    ) -> Mapping[str, Image.Image]:
        return _Pictures(
            names, lambda name: self._picture(reader, f"{folder}/{slug(name)}.webp").copy()
        )

    @staticmethod
    def _decode(reader: PackReader, member: str) -> Image.Image:
        with Image.open(io.BytesIO(reader.read(member))) as picture:
            return picture.convert("RGBA")

    def _open_font(self, name: str, size: int) -> ImageFont.FreeTypeFont:
        for reader in self._readers:
            if name in reader.manifest.fonts:
                content = reader.read(f"fonts/{reader.manifest.fonts[name]}")
                # Raqm lays letters out only where libfribidi is: the same item on every machine.
                layout = ImageFont.Layout.BASIC
                return ImageFont.truetype(io.BytesIO(content), size, layout_engine=layout)
        raise self._missing(f"font {name!r}")

    def _array(self, name: str) -> UInt8Array:
        member = f"arrays/{name}.npy"
        for reader in self._readers:
            if member in reader:
                array: UInt8Array = np.load(io.BytesIO(reader.read(member)), allow_pickle=False)
                return array
        raise self._missing(name)

    def _missing(self, what: str) -> AssetError:
        loaded = ", ".join(str(reader.path) for reader in self._readers)
        return AssetError(
            f"no {what} in {loaded}", hint="held-out assets are in assets-test.zip: load it too"
        )


def main(arguments: Sequence[str]) -> int:
    """Carry out ``edgecritic train assets``; returns the exit code."""
    parser = argparse.ArgumentParser(prog="edgecritic train assets")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="fetch the sources and build both packs")
    build.add_argument("--cache", type=Path, required=True, help="folder kept between builds")
    build.add_argument("--out", type=Path, required=True, help="folder for the packs")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    from edgecritic_train.data.build import build_packs

    for path in build_packs(options.cache, options.out):
        sys.stdout.write(f"{path}\n")
    return 0
