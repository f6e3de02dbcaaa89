"""Emoji drawings of several styles, found by their English label."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_VARIATION_SELECTOR = "fe0f"
# This style ships no code points and uses the label for something else: a cricket bat.
_NAMESAKES = {("emojione", "cricket")}


@dataclass(frozen=True, slots=True)
class Labels:
    """Emoji labels in lower case, by normalised code points such as "1f408-200d-2b1b"."""

    codes: Mapping[str, str]

    @classmethod
    def read(cls, package: Path) -> Labels:
        """Reads the English data of an unpacked ``emojibase-data`` package."""
        data = json.loads((package / "package/en/data.json").read_text(encoding="utf-8"))
        return cls({entry["label"].lower(): _normal(entry["hexcode"]) for entry in data})


@dataclass(frozen=True, slots=True)
class Collection:
    """One style's drawings in Iconify's format.

    Attributes:
        icons: the package's ``icons.json``.
        by_code: normalised code points -> icon name; empty where the package has none.
    """

    icons: Mapping[str, Any]
    by_code: Mapping[str, str]

    @classmethod
    def read(cls, package: Path) -> Collection:
        """Reads an unpacked ``@iconify-json`` package."""
        icons = json.loads((package / "package/icons.json").read_text(encoding="utf-8"))
        chars = json.loads((package / "package/chars.json").read_text(encoding="utf-8"))
        # An empty table is written as a list.
        by_code = {_normal(code): name for code, name in dict(chars or {}).items()}
        return cls(icons, by_code)

    def find(self, code: str, names: Iterable[str]) -> str | None:
        """The name of the icon for a code point, or else of the first name it knows."""
        if code in self.by_code:
            return self.by_code[code]
        return next((name for name in names if self._resolve(name) is not None), None)

    def svg(self, name: str) -> str:
        """A whole SVG document for an icon."""
        icon = self._resolve(name)
        if icon is None:
            raise KeyError(name)
        width = icon.get("width", self.icons.get("width", 16))
        height = icon.get("height", self.icons.get("height", 16))
        view = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{width}" height="{height}" viewBox="{view}">{icon["body"]}</svg>'
        )

    def _resolve(self, name: str) -> Mapping[str, Any] | None:
        """The icon or what it is an alias of; mirrored aliases count as missing."""
        alias = self.icons.get("aliases", {}).get(name)
        if alias is not None:
            return (
                None
                if {"hFlip", "vFlip", "rotate"} & alias.keys()
                else self._resolve(alias["parent"])
            )
        icon: Mapping[str, Any] | None = self.icons["icons"].get(name)
        return icon


def find_drawings(
    labels: Iterable[str], table: Labels, collections: Mapping[str, Collection]
) -> dict[str, list[str]]:
    """Looks up the drawings of a concept in every style.

    Two of the styles ship no code points, so the names that the other styles give to the
    code point are tried there as well.

    Args:
        labels: emoji labels in lower case, the best view first.
        table: the label table.
        collections: style -> drawings.

    Returns:
        Style -> SVG documents, one for each label that the style draws; styles without any
        are left out.
    """
    drawings: dict[str, list[str]] = {}
    for label in labels:
        code = table.codes.get(label, "")
        names = [c.by_code[code] for c in collections.values() if code in c.by_code]
        plain = re.sub(r"[^a-z0-9]+", "-", label).strip("-")
        names += [plain, plain.replace("flag-", "flag-for-", 1)]
        for style, collection in collections.items():
            name = collection.find(code, names)
            if name is not None and (style, label) not in _NAMESAKES:
                drawings.setdefault(style, []).append(collection.svg(name))
    return drawings


def _normal(code: str) -> str:
    return "-".join(part for part in code.lower().split("-") if part != _VARIATION_SELECTOR)
