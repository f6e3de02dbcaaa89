"""The asset pack: one zip file with pictures, fonts, arrays and a manifest.

Layout inside the zip::

    pack.json                     the manifest, see `PackManifest`
    LICENSES.json, LICENSES.md    every source with version, licence and attribution
    sprites/<style>/<slug>.webp   RGBA, at most 96 px on the longer side
    flags/<style>/<slug>.webp, cards/<deck>/<slug>.webp, photos/<file>
    arrays/<name>.npy             uint8 images and labels
    fonts/<file>                  TrueType or OpenType

Pictures are stored as they are, arrays and fonts are deflated.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgecritic.errors import CriticError

FORMAT = 1
_STORED_SUFFIXES = (".webp", ".png", ".jpg")
# A fixed date keeps two builds of the same inputs byte-identical.
_ZIP_DATE = (2020, 1, 1, 0, 0, 0)


class AssetError(CriticError):
    """A pack is unreadable, or an asked-for asset is in none of the loaded packs."""


@dataclass(frozen=True, slots=True)
class Concept:
    """Something a person can name from its picture.

    Attributes:
        name: singular English noun in lower case, e.g. "hot dog"; unique.
        plural: plural noun, e.g. "hot dogs".
        article: "a", "an", or "" for nouns without one.
        category: coarse kind, e.g. "animal", "food", "vehicle".
        held_out: True for the concepts that training must never show.
        group: finer kind within the category, e.g. "fruit" or "bird".
    """

    name: str
    plural: str
    article: str
    category: str
    held_out: bool
    group: str = ""


@dataclass(frozen=True, slots=True)
class Photo:
    """A captioned photograph: the file inside the pack and what it shows."""

    file: str
    caption: str


@dataclass(frozen=True, slots=True)
class PackManifest:
    """What one pack holds; names are listed here, bytes are found by their path.

    Attributes:
        name: "train" or "test".
        concepts: the concepts of all sprites in the pack.
        sprites: drawing style -> concept names drawn in it.
        fonts: font name -> file name under ``fonts/``.
        font_part: which part the fonts belong to, "train" or "heldout".
        words: part -> words.
        garments: the class names of the garment labels, by label.
        flags: drawing style -> country names.
        cards: deck -> playing cards, as "queen of hearts".
        photos: captioned photographs.
    """

    name: str
    concepts: tuple[Concept, ...] = ()
    sprites: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fonts: Mapping[str, str] = field(default_factory=dict)
    font_part: str = "train"
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    garments: tuple[str, ...] = ()
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cards: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    photos: tuple[Photo, ...] = ()

    def to_json(self) -> str:
        """The manifest as indented JSON with a format number."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, where: str) -> PackManifest:
        """Reads a manifest.

        Args:
            text: JSON written by `to_json`.
            where: the pack's path, for error messages.

        Raises:
            AssetError: not JSON, another format number, or a field is missing.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            found = raw["format"]
            if found != FORMAT:
                raise AssetError(
                    f"pack {where} has format {found}, this version reads {FORMAT}",
                    hint="build the packs again: edgecritic train assets build",
                )
            return cls(
                name=raw["name"],
                concepts=tuple(Concept(**entry) for entry in raw["concepts"]),
                sprites={style: tuple(names) for style, names in raw["sprites"].items()},
                fonts=dict(raw["fonts"]),
                font_part=raw["font_part"],
                words={part: tuple(words) for part, words in raw["words"].items()},
                garments=tuple(raw["garments"]),
                flags={style: tuple(names) for style, names in raw["flags"].items()},
                cards={deck: tuple(names) for deck, names in raw["cards"].items()},
                photos=tuple(Photo(**entry) for entry in raw["photos"]),
            )
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as cause:
            raise AssetError(
                f"pack {where} has an unreadable pack.json: {cause!r}",
                hint="build the packs again: edgecritic train assets build",
            ) from cause


def slug(name: str) -> str:
    """File-name form of a name: letters and digits kept, everything else a dash."""
    return "".join(char if char.isalnum() else "-" for char in name.lower())


class PackReader:
    """Random access to one pack, held in memory so that forked workers can share it."""

    def __init__(self, path: Path) -> None:
        """Reads the whole file (tens of MB) and its manifest.

        Raises:
            AssetError: the file is missing, no zip file, or has no valid manifest.
        """
        self.path = path
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
        except FileNotFoundError as cause:
            raise AssetError(
                f"no asset pack at {path}",
                hint="build it: edgecritic train assets build",
            ) from cause
        except zipfile.BadZipFile as cause:
            raise AssetError(
                f"asset pack {path} is not a zip file", hint="delete it and build it again"
            ) from cause
        self._names = frozenset(self._zip.namelist())
        self.manifest = PackManifest.from_json(self.read("pack.json").decode(), str(path))

    def __contains__(self, member: str) -> bool:
        return member in self._names

    def read(self, member: str) -> bytes:
        """The bytes of one member.

        Raises:
            AssetError: the pack has no such member.
        """
        if member not in self._names:
            raise AssetError(
                f"pack {self.path} has no member {member}", hint="build the pack again"
            )
        return self._zip.read(member)


def write_pack(path: Path, manifest: PackManifest, members: Sequence[tuple[str, bytes]]) -> None:
    """Writes a pack beside its final place and moves it there when it is complete.

    Args:
        path: where the pack goes; replaced if it exists.
        manifest: what the pack holds; written as ``pack.json``.
        members: (path inside the zip, bytes) in the order to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with zipfile.ZipFile(partial, "w") as pack:
        for name, content in [("pack.json", manifest.to_json().encode()), *members]:
            info = zipfile.ZipInfo(name, _ZIP_DATE)
            stored = name.endswith(_STORED_SUFFIXES)
            info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            pack.writestr(info, content)
    os.replace(partial, path)
