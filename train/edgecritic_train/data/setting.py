"""The setting of one item: which assets, which split, which random stream."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFont

from edgecritic_train.data import splits
from edgecritic_train.data.assets import AssetError, Assets, Concept, UInt8Array
from edgecritic_train.data.dice import pick

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a question type needs to build an item.

    Attributes:
        assets: pictures, fonts and words.
        split: "train" or "T0".."T4".
        rng: the item's own generator.
    """

    assets: Assets
    split: str
    rng: np.random.Generator

    def concepts(self) -> tuple[Concept, ...]:
        """The concepts that the split may show."""
        return self._some("concepts", _concepts(self.assets, self.split))

    def digits(self) -> dict[str, UInt8Array]:
        """Handwritten digits of the split by their label, each (n, height, width)."""
        return _digits(self.assets, splits.digit_part(self.split))

    def garments(self) -> dict[str, UInt8Array]:
        """Clothing pictures of the split by their class name, each (n, 28, 28)."""
        return _garments(self.assets, splits.garment_part(self.split))

    def fonts(self) -> tuple[str, ...]:
        """Names of the split's fonts."""
        return self._some("fonts", self.assets.fonts(splits.font_part(self.split)))

    def font(self, name: str, size: int) -> ImageFont.FreeTypeFont:
        """A font at a size rounded down to one of few, for opening one costs a millisecond."""
        step = 2 if size < 24 else 4
        return self.assets.font(name, max(8, size // step * step))

    def words(self, longest: int = 8) -> tuple[str, ...]:
        """Words of the split with at most so many letters."""
        return _words(self.assets, splits.word_part(self.split), longest)

    def countries(self) -> tuple[str, ...]:
        """Countries whose flag belongs to the split and is drawn in one of its styles."""
        return self._some("flags", tuple(_flag_styles(self.assets, self.split)))

    def flag(self, country: str) -> Image.Image:
        """A country's flag in a random style of the split."""
        style = pick(self.rng, _flag_styles(self.assets, self.split)[country])
        return self.assets.flags(style)[country]

    def cards(self) -> tuple[str, ...]:
        """The names of the playing cards."""
        return tuple(self.assets.cards(self._decks()[0]))

    def card(self, name: str) -> Image.Image:
        """A playing card of a random deck of the split."""
        return self.assets.cards(pick(self.rng, self._decks()))[name]

    def _decks(self) -> tuple[str, ...]:
        return self._some("playing cards", splits.decks(self.assets.decks, self.split))

    def photos(self) -> tuple[tuple[str, Image.Image], ...]:
        """Photographs with what they show ("a brown hen")."""
        return self._some("photographs", _photos(self.assets))

    def _some(self, what: str, found: tuple[T, ...]) -> tuple[T, ...]:
        """What was found, if anything was."""
        if not found:
            raise AssetError(
                f"the loaded packs have no {what} for split {self.split}",
                hint="load assets-train.zip and assets-test.zip together",
            )
        return found


# Keyed by the assets' identity: one process holds one or two of them.
@lru_cache(maxsize=16)
def _concepts(assets: Assets, split: str) -> tuple[Concept, ...]:
    return splits.concepts(assets, split)


@lru_cache(maxsize=8)
def _digits(assets: Assets, part: splits.DigitPart) -> dict[str, UInt8Array]:
    images, labels = assets.digits(part)
    return {str(digit): images[labels == digit] for digit in range(10)}


@lru_cache(maxsize=4)
def _garments(assets: Assets, part: splits.GarmentPart) -> dict[str, UInt8Array]:
    images, labels, names = assets.garments(part)
    return {name: images[labels == index] for index, name in enumerate(names)}


@lru_cache(maxsize=32)
def _words(assets: Assets, part: splits.Part, longest: int) -> tuple[str, ...]:
    return tuple(word for word in assets.words(part) if len(word) <= longest)


@lru_cache(maxsize=16)
def _flag_styles(assets: Assets, split: str) -> dict[str, tuple[str, ...]]:
    """The styles of every country's flag."""
    styles = splits.styles(assets.flag_styles, split)
    drawn = {style: frozenset(assets.flags(style)) for style in styles}
    countries = sorted({name for names in drawn.values() for name in names})
    return {
        name: tuple(style for style in styles if name in drawn[style])
        for name in countries
        if splits.flag_allowed(name, split)
    }


@lru_cache(maxsize=2)
def _photos(assets: Assets) -> tuple[tuple[str, Image.Image], ...]:
    return tuple(
        (phrase, photo)
        for caption, photo in assets.photos()
        if (phrase := _plain_phrase(caption)) is not None
    )


def _plain_phrase(caption: str) -> str | None:
    """The phrase "a brown hen" for "A brown hen."; None for captions that say more than a name."""
    phrase = caption.rstrip(".")
    plain = phrase.startswith(("A ", "An ")) and phrase.replace(" ", "").isalpha()
    return phrase[0].lower() + phrase[1:] if plain and len(phrase.split()) <= 3 else None
