"""Where the command line writes to: results to stdout, everything else to stderr."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from typing import TextIO

from edgecritic.cli.terminal import Style, clean, clipped
from edgecritic.errors import CriticError

_MIN_WIDTH, _MAX_WIDTH = 48, 100
_FRAMES = ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\")
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
        self._tell(clean(text) + "\n")

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
        done = Event()

        def spin() -> None:
            frames = _FRAMES[0] if _encodes_blocks(self._err) else _FRAMES[1]
            for frame in itertools.cycle(frames):
                if done.wait(0.1):
                    return
                text = clipped(current[0], self._spinner_width)
                self._tell(f"{_ERASE_LINE}{frame} {text}")

        spinner = Thread(target=spin, daemon=True)
        spinner.start()
        try:
            yield lambda text: current.__setitem__(0, text)
        finally:
            done.set()
            spinner.join()
            self._tell(_ERASE_LINE)


def _columns(environ: Mapping[str, str]) -> int:
    wanted = environ.get("COLUMNS", "")
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
