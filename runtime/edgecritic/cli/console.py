"""Where the command line writes to: results to stdout, everything else to stderr."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from edgecritic.cli.terminal import Style, clean, clipped
from edgecritic.errors import CriticError
from edgecritic.gauge import Gauge, repeated

_MIN_WIDTH, _MAX_WIDTH = 48, 100
_COLUMNS_DIGITS = 6
_FRAMES = ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\")
_FRAME_S = 0.1
_BAR_CELLS = 20
_LINE_EVERY_S = 30.0
"""How often a long step says how far it is where no bar can be drawn."""
_ERASE_LINE = "\r\x1b[K"


class Console:
    """Both output streams, and what each of them can show.

    Args:
        out: stream of the results.
        err: stream of progress and errors.
        environ: for ``NO_COLOR``, ``TERM`` and ``COLUMNS``.
    """

    def __init__(self, out: TextIO, err: TextIO, environ: Mapping[str, str]) -> None:
        self._out = out
        self._err = err
        self.interactive = out.isatty()
        self._talks_to_terminal = err.isatty() and environ.get("TERM") != "dumb"
        columns = _columns(environ)
        # A line that the terminal wraps could not be erased again.
        self._spinner_width = max(1, min(_MAX_WIDTH, columns - 3))
        self._animating = False
        self.style = Style(
            width=max(_MIN_WIDTH, min(_MAX_WIDTH, columns - 1)),
            colour=self.interactive and _colours_wanted(environ),
            unicode=_encodes_blocks(out),
        )
        for stream in (out, err):
            if reconfigure := getattr(stream, "reconfigure", None):
                reconfigure(errors="backslashreplace")

    @classmethod
    def standard(cls) -> Console:
        """The process's own stdout and stderr, which windowed programs do not have."""
        return cls(sys.stdout or io.StringIO(), sys.stderr or io.StringIO(), os.environ)

    def write(self, text: str) -> None:
        """Write results as they are, and show them at once.

        Raises:
            BrokenPipeError: nobody reads them any more.
            CriticError: they cannot be stored.
        """
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CriticError(f"the output cannot be written: {error}", "free some space") from None

    def line(self, text: str = "") -> None:
        """`write` a line, or several."""
        self.write(text + "\n")

    def json(self, value: object) -> None:
        """One line of JSON; ASCII only where the stream cannot encode the rest."""
        self.line(json.dumps(value, ensure_ascii=not _is_utf8(self._out)))

    def talk(self, text: str) -> None:
        """A line of progress."""
        # Over the animation's line, which is drawn again below it.
        self._tell((_ERASE_LINE if self._animating else "") + clean(text) + "\n")

    def _tell(self, text: str) -> None:
        try:
            self._err.write(text)
            self._err.flush()
        except OSError:
            pass  # progress that nobody can read must not end a judgement

    @contextmanager
    def busy(self, label: str) -> Iterator[Callable[[str], None]]:
        """Show on a terminal that something goes on; the yielded function changes the label.

        Where stderr is no terminal the label is not shown, and what it changes to is: one line
        each time.
        """
        if not self._talks_to_terminal:
            yield self.talk
            return
        current = [label]
        with self._animated(lambda: clipped(current[0], self._spinner_width)):
            yield lambda text: current.__setitem__(0, text)

    @contextmanager
    def measured(
        self, label: str, total: int, done: Callable[[], int], things: str = ""
    ) -> Iterator[None]:
        """Show how far a long step is: a bar on a terminal, elsewhere a line now and then.

        Args:
            label: what is made.
            total: bytes planned.
            done: bytes so far; asked from another thread.
            things: what is counted instead of bytes, such as ``rows``.
        """
        gauge = Gauge(total, done(), time.monotonic(), things)

        def line() -> str:
            so_far = done()
            text = f"{label}: {gauge.text(so_far, time.monotonic())}"
            if not self._talks_to_terminal:
                return text
            cells = _BAR_CELLS if self._spinner_width >= 3 * _BAR_CELLS else 0
            bar = Style(unicode=_encodes_blocks(self._err)).bar(gauge.share(so_far), cells)
            return f"{bar} {clipped(text, self._spinner_width - cells - 1)}"

        if self._talks_to_terminal:
            with self._animated(line):
                yield
        else:
            with repeated(_LINE_EVERY_S, lambda: self.talk(line())):
                yield

    @contextmanager
    def _animated(self, line: Callable[[], str]) -> Iterator[None]:
        """Draw a line that fits again and again, behind a spinner."""
        frames = itertools.cycle(_FRAMES[0] if _encodes_blocks(self._err) else _FRAMES[1])

        def draw() -> None:
            self._tell(f"{_ERASE_LINE}{next(frames)} {line()}")

        self._animating = True
        try:
            with repeated(_FRAME_S, draw):
                yield
        finally:
            self._animating = False
            self._tell(_ERASE_LINE)


def _columns(environ: Mapping[str, str]) -> int:
    # Python refuses to read a number of thousands of digits.
    wanted = environ.get("COLUMNS", "")[:_COLUMNS_DIGITS]
    return int(wanted) if wanted.isdecimal() else shutil.get_terminal_size().columns


def _colours_wanted(environ: Mapping[str, str]) -> bool:
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return sys.platform != "win32" or "WT_SESSION" in environ or "TERM" in environ


def _is_utf8(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def _encodes_blocks(stream: TextIO) -> bool:
    try:
        "█▏─⠋".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
