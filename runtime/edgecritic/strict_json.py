"""JSON from outside: decoded without its loose ends, and read key by key.

Whatever is not as expected is named with its place.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Never

from edgecritic.errors import ArtifactError, shown

HINT = "the file is damaged or of another version: fetch or export the bundle again"
_MAX_DEPTH = 32
_MAX_DIGITS = 18  # of whole numbers: they fit 64 bits, and convert to floats


def decode(text: str) -> Any:
    """Decode JSON, and refuse what decoders disagree about or what could harm a reader.

    Refused are keys that occur twice, NaN and infinities, whole numbers of more than 18 digits,
    halves of surrogate pairs, and nesting deeper than 32 levels.

    Raises:
        ValueError: the text is no such JSON; it says what is wrong.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole_number,
            parse_float=_finite_number,
            parse_constant=_no_number,
        )
    except RecursionError:
        raise ValueError(f"it is nested deeper than {_MAX_DEPTH} levels") from None
    _check_texts(value, 0)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for key, value in pairs:
        if key in decoded:
            raise ValueError(f"the key {shown(key)} appears twice")
        decoded[key] = value
    return decoded


def _whole_number(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a whole number has {len(text)} digits")
    return int(text)


def _finite_number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _no_number(text: str) -> Never:
    raise ValueError(f"{shown(text)} is no finite number")


def _check_texts(value: object, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, str):
        value.encode()  # UnicodeEncodeError is a ValueError
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode()
            _check_texts(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item, depth + 1)


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
            raise ArtifactError(f"{where} is {shown(data)}, not an object", HINT)
        if missing := keys - data.keys():
            raise ArtifactError(f"{where} lacks {min(missing)!r}", HINT)
        if unknown := data.keys() - keys - optional:
            raise ArtifactError(f"{where} has the unknown key {shown(min(unknown))}", HINT)
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

    def below(self, key: str, *keys: str, optional: Collection[str] = ()) -> JsonObject:
        """The object at `key`, which has `keys`, and may have the `optional` ones."""
        where = f"{self.where}: {key}"
        return JsonObject(where, self.raw(key), frozenset(keys), frozenset(optional))

    def _wrong(self, key: str, expected: str) -> ArtifactError:
        return ArtifactError(f"{self.where}: {key} is {shown(self.raw(key))}, not {expected}", HINT)
