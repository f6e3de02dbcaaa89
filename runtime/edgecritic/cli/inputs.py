"""What options stand for: text given in place, in a file or on stdin; pictures; rubrics."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from edgecritic.errors import InputError
from edgecritic.task import Rubric

_MAX_BYTES = 64 << 20


class Inputs:
    """Reads the values of options; stdin can be read by one of them.

    Args:
        stdin: binary stdin; the process's own when left out.
    """

    def __init__(self, stdin: BinaryIO | None = None) -> None:
        self._stdin = stdin
        self._stdin_taken_by: str | None = None

    def text(self, value: str, option: str) -> str:
        """The text that an option's value stands for.

        Args:
            value: the text itself; ``-`` for stdin; ``@file`` for a file's content; ``@@text``
                for ``@text``. One line break at the end of a file is dropped.
            option: the option's name, for messages.

        Raises:
            InputError: the source cannot be read, is too large, or is not UTF-8.
        """
        if value == "-":
            return _decoded(self._read_stdin(option), "stdin")
        if value.startswith("@@"):
            value = value[1:]
        elif value.startswith("@"):
            return _decoded(_read_file(value[1:], option), value[1:])
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise InputError(f"{option} is not UTF-8", "pass the text as UTF-8, or as @file")
        return value

    def image(self, value: str) -> str | bytes:
        """A picture's path, or its bytes if it comes by stdin (``-``)."""
        return self._read_stdin("--image") if value == "-" else value

    def rubric(self, value: str) -> Rubric:
        """A rubric given as a range, as JSON, or as ``@file`` with either of them."""
        return Rubric.parse(self.text(value, "--rubric").strip())

    def _read_stdin(self, option: str) -> bytes:
        if self._stdin_taken_by is not None:
            raise InputError(
                f"{option} and {self._stdin_taken_by} both read stdin",
                "give one of them as @file",
            )
        self._stdin_taken_by = option
        stdin = self._stdin or getattr(sys.stdin, "buffer", None)
        if stdin is None:
            raise InputError(f"{option} reads stdin, and this process has none", "give it as @file")
        try:
            return _limited(stdin.read(_MAX_BYTES + 1), "stdin")
        except OSError as error:  # it was opened for writing, or its other end broke
            raise InputError(
                f"{option} reads stdin, which cannot be read: {error.strerror}", "give it as @file"
            ) from error


def _read_file(name: str, option: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return _limited(file.read(_MAX_BYTES + 1), name)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{option} names the file {name!r}, which cannot be read: {reason}",
            "a text that itself begins with @ is written with two: @@text",
        ) from error


def _limited(content: bytes, where: str) -> bytes:
    if len(content) > _MAX_BYTES:
        raise InputError(f"{where} holds over {_MAX_BYTES >> 20} MiB", "give a shorter input")
    return content


def _decoded(content: bytes, where: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where} is not UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}",
            "convert it, for example with: iconv -t UTF-8",
        ) from error
    return text.replace("\r\n", "\n").removesuffix("\n")
