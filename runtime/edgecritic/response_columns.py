"""How tables name responses; whoever reads one knows these names, and no others.

=====================================  =========================================================
``response``                           one
``first``, ``second``                  two; or ``chosen``, ``rejected``
``response_1``, ``response_2`` ...     as many as there are
``responses``                          a list of them, or JSON of one in a cell of text
=====================================  =========================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgecritic.errors import InputError, shown
from edgecritic.strict_json import decode

PREFERENCE: Final = ("chosen", "rejected")
_PAIR: Final = ("first", "second")
_LIST: Final = "responses"
_SINGLE: Final = "response"
_NUMBERED: Final = re.compile(r"response_([1-9]\d?)")
RESPONSE_COLUMNS: Final = (_SINGLE, *_PAIR, "response_1", "response_2", _LIST, *PREFERENCE)
"""For messages; more numbers than these are known."""


@dataclass(frozen=True, slots=True)
class Responses:
    """The responses that a record has under one of the ways to name them.

    Attributes:
        names: of the columns.
        cells: what they hold.
    """

    names: tuple[str, ...]
    cells: tuple[object, ...]

    @property
    def texts(self) -> list[str]:
        """The responses.

        Raises:
            InputError: one is no text, or there is no list.
        """
        names, cells = self.names, self.cells
        if names == (_LIST,):
            listed = unpacked(cells[0])
            if not isinstance(listed, list | tuple):
                raise InputError(f"{_LIST} is {shown(listed)}, not a list of texts", "give a list")
            names, cells = ("a response",) * len(listed), tuple(listed)
        for name, cell in zip(names, cells, strict=True):
            if not isinstance(cell, str):
                raise InputError(f"{name} is {shown(cell)}, not text", "write it as text")
        return [str(cell) for cell in cells]


def is_response_column(name: str) -> bool:
    """Whether a column of this name holds responses."""
    return name in RESPONSE_COLUMNS or _NUMBERED.fullmatch(name) is not None


def responses_in(record: Mapping[str, Any]) -> list[Responses]:
    """All ways in which a record names responses; who wants one of several takes the first."""
    ways = (PREFERENCE, (_LIST,), (_SINGLE,), _numbered(record), _PAIR)
    there = {
        name for name, cell in record.items() if cell is not None and (name, cell) != (_LIST, "")
    }
    return [
        Responses(names, tuple(record[name] for name in names))
        for names in ways
        if names and there.issuperset(names)
    ]


def unpacked(cell: object) -> object:
    """A list that a cell of text holds as JSON, or the cell."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            return decode(cell)
        except ValueError:
            return cell
    return cell


def _numbered(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that are there; a table is as wide as its longest row, so the last may be empty."""
    numbers = sorted(
        int(match[1])
        for name, cell in record.items()
        if (match := _NUMBERED.fullmatch(name)) and cell is not None
    )
    names = [f"response_{number}" for number in numbers]
    while len(names) > len(_PAIR) and record[names[-1]] == "":
        names.pop()
    return tuple(names)
