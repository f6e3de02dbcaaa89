"""What belongs to which split, kept apart by construction.

========  ==========================================================================
train     what the critic learns from
T0        the training distribution, new seeds, without the style augmentation
T1        unseen images and styles: a drawing style, handwriting, garments, fonts, words,
          fills, backgrounds and chart themes that training never draws
T2        unseen values: held-out concepts, numbers, colour-shape combinations and flags
T3        an unseen domain: photographs, and digits of another collection
T4        unseen question types, question wordings and response families
========  ==========================================================================

Every function here answers for one split, and training and the held-out splits get disjoint
answers; `tests/unit/train/data/test_splits.py` holds them to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from edgecritic_train.data.assets import Assets, Concept
from edgecritic_train.data.dice import stable_seed

SPLITS: tuple[str, ...] = ("train", "T0", "T1", "T2", "T3", "T4")

HELD_OUT_STYLE = "openmoji"
"""The drawing style of sprites and flags that training never shows."""
PHOTO_STYLE = "photo"
"""The sprites that are cut from photographs, for T3 alone."""
HELD_OUT_DECK = "ornamental"
"""The deck of playing cards that training never shows."""

Part = Literal["train", "heldout"]
DigitPart = Literal["train", "heldout", "sklearn"]
GarmentPart = Literal["train", "test"]


def digit_part(split: str) -> DigitPart:
    """The collection of handwritten digits."""
    if split == "T3":
        return "sklearn"
    return "heldout" if split == "T1" else "train"


def garment_part(split: str) -> GarmentPart:
    """The part of the clothing pictures."""
    return "test" if split == "T1" else "train"


def font_part(split: str) -> Part:
    """The part of the fonts."""
    return "heldout" if split == "T1" else "train"


def word_part(split: str) -> Part:
    """The part of the words."""
    return "heldout" if split == "T1" else "train"


def novel_look(split: str) -> bool:
    """True where fills, backgrounds and chart themes are the held-out ones."""
    return split == "T1"


def photographs_only(split: str) -> bool:
    """True where pictured things are photographs, so that drawn shapes have no place."""
    return split == "T3"


def augments_style(split: str) -> bool:
    """True where sprites are redrawn at random (outlined, posterised, grey, line only)."""
    return split == "train"


def held_out_wording(split: str) -> bool:
    """True where questions use the wordings that training never sees."""
    return split == "T4"


def styles(available: Iterable[str], split: str) -> tuple[str, ...]:
    """The drawing styles of a split; further views ("noto-2") go with their style."""
    if split == "T1":
        return tuple(style for style in available if style.startswith(HELD_OUT_STYLE))
    if split == "T3":
        return tuple(style for style in available if style.startswith(PHOTO_STYLE))
    unseen = (HELD_OUT_STYLE, PHOTO_STYLE)
    return tuple(style for style in available if not style.startswith(unseen))


def decks(available: Iterable[str], split: str) -> tuple[str, ...]:
    """The decks of playing cards of a split."""
    return tuple(deck for deck in available if (deck == HELD_OUT_DECK) == (split == "T1"))


def concepts(assets: Assets, split: str) -> tuple[Concept, ...]:
    """The concepts that a split may show and has a style for; photographs show any."""
    return tuple(
        concept
        for concept in assets.concepts.values()
        if (split == "T3" or concept.held_out == (split == "T2"))
        and styles(assets.sprite_styles(concept.name), split)
    )


def number_allowed(number: int, split: str) -> bool:
    """Whether a number of two or three digits may be written in a split.

    About a fifth of them is held out. Single digits are in every split, for there are too few
    to hold any out.
    """
    if number < 10:
        return True
    return _drawn("number", number, 5) == (split == "T2")


def combination_allowed(colour: int, shape: int, split: str) -> bool:
    """Whether a shape may have a colour in a split, both by their index in the palette.

    A fifth of the table is held out, so that every shape and every colour has two held-out
    partners when there are ten of each.
    """
    return ((colour + shape) % 5 == 0) == (split == "T2")


def flag_allowed(country: str, split: str) -> bool:
    """Whether a country's flag belongs to a split; about a fifth is held out."""
    return _drawn("flag", country, 5) == (split == "T2")


def _drawn(what: str, value: str | int, one_in: int) -> bool:
    return stable_seed("held out", what, value) % one_in == 0
