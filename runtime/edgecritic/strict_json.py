"""JSON from outside, read key by key; whatever is not as expected is named with its place."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from edgecritic.errors import ArtifactError

HINT = "the file is damaged or of another version: fetch or export the bundle again"


class JsonObject:
    """One JSON object with exactly known keys.

    Args:
        where: its place, for messages, such as ``critic.json: files[0]``.
        data: the decoded JSON.
        keys: keys that must be there.
        optional: keys that may be there.

    Raises:
        ArtifactError: not an object, a key is missing, or one is unknown.
    """

    def __init__(
        self, where: str, data: object, keys: frozenset[str], optional: frozenset[str] = frozenset()
    ) -> None:
        if not isinstance(data, Mapping):
            raise ArtifactError(f"{where} is {_shown(data)}, not an object", HINT)
        if missing := keys - data.keys():
            raise ArtifactError(f"{where} lacks {min(missing)!r}", HINT)
        if unknown := data.keys() - keys - optional:
            raise ArtifactError(f"{where} has the unknown key {min(unknown)!r}", HINT)
        self.where = where
        self._data = data

    def raw(self, key: str) -> Any:
        """The value as it is; None where an optional key is left out."""
        return self._data.get(key)

    def text(self, key: str, pattern: str = r"(?s).+") -> str:
        """A string that `pattern` matches wholly; by default any that is not empty."""
        value = self.raw(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise self._wrong(key, "text of the expected form")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """A whole number within [low, high]."""
        value = self.raw(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(key, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float, *, above: bool = False) -> float:
        """A finite number of at least `low`, or above it."""
        value = self.raw(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number")
        if not math.isfinite(value) or value < low or (above and value == low):
            raise self._wrong(key, f"a number {'above' if above else 'of at least'} {low:g}")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false; false where the key is left out."""
        value = self._data.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self.raw(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of texts")
        return tuple(value)

    def items(self, key: str) -> list[tuple[str, object]]:
        """The items of a list, each with its place; an empty list where the key is left out."""
        value = self._data.get(key, [])
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return [(f"{self.where}: {key}[{index}]", item) for index, item in enumerate(value)]

    def below(self, key: str, *keys: str) -> JsonObject:
        """The object at `key`, which has `keys`."""
        return JsonObject(f"{self.where}: {key}", self.raw(key), frozenset(keys))

    def _wrong(self, key: str, expected: str) -> ArtifactError:
        return ArtifactError(
            f"{self.where}: {key} is {_shown(self.raw(key))}, not {expected}", HINT
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
