"""Text for terminals: columns counted, lines wrapped, nothing that could drive the terminal.

What a critic prints comes from users and from a model. It may hold wide characters, which take
two columns, and control characters, which would move the cursor or change colours.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Colour: TypeAlias = Literal["bold", "dim", "red", "green", "yellow", "cyan"]

_SGR: dict[Colour, str] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LINE_BREAKS = frozenset("\n\v\f\x85\u2028\u2029")
_JOINERS = frozenset("\u200c\u200d\u00ad")  # invisible, and part of ordinary words and emoji


@dataclass(frozen=True, slots=True)
class Style:
    """What the place that text goes to can show.

    Attributes:
        width: columns, at least 20.
        colour: escape sequences for colours are understood.
        unicode: block characters and dashes can be encoded.
    """

    width: int = 80
    colour: bool = False
    unicode: bool = False

    def paint(self, text: str, *colours: Colour) -> str:
        """`text` in colours, where there are any."""
        if not self.colour or not colours or not text:
            return text
        return f"\x1b[{';'.join(_SGR[colour] for colour in colours)}m{text}\x1b[0m"

    def narrowed(self, columns: int) -> Style:
        """The same with fewer columns, for text beside something else."""
        return replace(self, width=max(20, self.width - columns))

    def bar(self, share: float, cells: int) -> str:
        """A bar that fills `share` (in [0, 1]) of `cells` columns, padded to all of them."""
        filled = min(1.0, max(0.0, share)) * cells
        if not self.unicode:
            return ("#" * round(filled)).ljust(cells, ".")
        eighths = round(filled * 8)
        full, rest = divmod(eighths, 8)
        return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(cells)


def clean(text: str) -> str:
    """`text` with every character that could drive a terminal shown as an escape.

    Line breaks of all kinds become line feeds and tabs become spaces; other control characters,
    invisible formatting (bidirectional overrides among it) and lone surrogates are spelled out.
    """
    return "".join(_harmless(char) for char in text.replace("\r\n", "\n"))


def _harmless(char: str) -> str:
    if char in _LINE_BREAKS:
        return "\n"
    if char == "\t":
        return "    "
    if char not in _JOINERS and unicodedata.category(char) in ("Cc", "Cf", "Cs"):
        code = ord(char)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return char


def char_width(char: str) -> int:
    """Columns of one character: 0, 1 or 2."""
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def display_width(text: str) -> int:
    """Columns that one line of clean text takes."""
    return sum(map(char_width, text))


def clipped(text: str, width: int, ellipsis: str = "...") -> str:
    """`text` on one line of at most `width` columns."""
    line = " ".join(clean(text).split())
    if display_width(line) <= width:
        return line
    kept, room = "", max(0, width - display_width(ellipsis))
    for char in line:
        room -= char_width(char)
        if room < 0:
            break
        kept += char
    return kept.rstrip() + ellipsis


class Wrapper:
    """Wraps text that arrives in pieces; what it returns is to be written as it is.

    Args:
        width: columns of a line, at least 1.
        indent: stands before every line but the first, and counts into `width`.
    """

    def __init__(self, width: int, indent: str = "") -> None:
        self._room = max(2, width - display_width(indent))
        self._indent = indent
        self._column = 0
        self._word = ""

    def feed(self, text: str) -> str:
        """What can be written now: every word that is known to have ended."""
        written = ""
        for char in clean(text):
            if char in " \n":
                written += self._place() + (self._new_line() if char == "\n" else "")
            else:
                self._word += char
        return written

    def finish(self) -> str:
        """The last word."""
        return self._place()

    def _place(self) -> str:
        word, self._word = self._word, ""
        if not word:
            return ""
        gap = 1 if self._column else 0
        written = ""
        if self._column + gap + display_width(word) <= self._room:
            self._column += gap + display_width(word)
            return " " * gap + word
        if self._column:
            written += self._new_line()
        for line in _broken(word, self._room):
            written += (self._new_line() if self._column else "") + line
            self._column = display_width(line)
        return written

    def _new_line(self) -> str:
        self._column = 0
        return "\n" + self._indent


def _broken(word: str, width: int) -> Iterator[str]:
    """A word in parts that fit into `width` columns each."""
    line, used = "", 0
    for char in word:
        if used + char_width(char) > width:
            yield line
            line, used = "", 0
        line += char
        used += char_width(char)
    yield line


def wrapped(text: str, width: int, indent: str = "") -> str:
    """`text` wrapped to `width` columns; `indent` stands before every line but the first."""
    wrapper = Wrapper(width, indent)
    return wrapper.feed(clean(text).strip(" \n")) + wrapper.finish()
