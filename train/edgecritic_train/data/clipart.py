"""Clip art, flags and playing cards: which drawing shows what.

File titles and keywords of the clip art library are often wrong or missing, so every
picture in ``clipart.txt`` was looked at before it was listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edgecritic_train.data.pack import AssetError

_ART = Path("usr/share/openclipart/svg")
_FLAGS = _ART / "signs_and_symbols/flags"
_CARDS = _ART / "recreation/games/cards"

TRAIN_DECKS = ("white", "simple", "bordered")
TEST_DECK = "ornamental"
_SUITS = {"c": "clubs", "d": "diamonds", "h": "hearts", "s": "spades"}
_RANKS = {
    "a": "ace",
    "2": "two",
    "3": "three",
    "4": "four",
    "5": "five",
    "6": "six",
    "7": "seven",
    "8": "eight",
    "9": "nine",
    "10": "ten",
    "j": "jack",
    "q": "queen",
    "k": "king",
}


@dataclass(frozen=True, slots=True)
class Flag:
    """A country's flag: its clip art file and its emoji label (lower case)."""

    country: str
    path: Path
    label: str


def read_table(file: str) -> Iterator[tuple[str, str]]:
    """The "name = value" lines of a table shipped with this package."""
    text = resources.files("edgecritic_train.data").joinpath(file).read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, value = line.partition(" = ")
            yield name.strip(), value.strip()


def concept_art() -> dict[str, tuple[Path, ...]]:
    """Concept name -> clip art files that show it, inside the unpacked package."""
    return {
        name: tuple(_ART / f"{stem.strip()}.svg" for stem in stems.split(","))
        for name, stems in read_table("clipart.txt")
    }


def flags() -> tuple[Flag, ...]:
    """The flags of ``flags.txt``, by country."""
    found = []
    for country, value in read_table("flags.txt"):
        path, _, label = value.partition(";")
        found.append(
            Flag(country, _FLAGS / path.strip(), f"flag: {label.strip() or country}".lower())
        )
    return tuple(found)


def cards(deck: str) -> dict[str, Path]:
    """Card name, as "queen of hearts" -> file of one deck; jokers are left out."""
    return {
        f"{rank} of {suit}": _CARDS / deck / f"{deck}_{suit_key}_{rank_key}.svg"
        for suit_key, suit in _SUITS.items()
        for rank_key, rank in _RANKS.items()
    }


def read_art(package: Path, path: Path) -> str:
    """The SVG text of a clip art file.

    Raises:
        AssetError: the unpacked package has no such file.
    """
    try:
        return (package / path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as cause:
        raise AssetError(
            f"the clip art package has no {path}", hint="check clipart.txt and flags.txt"
        ) from cause
