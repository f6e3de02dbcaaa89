"""What numbers and folders of a command line have to be; argparse names option and value."""

from __future__ import annotations

import math
from pathlib import Path

from edgecritic import InputError


def positive(text: str) -> int:
    """A whole number above zero."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def count(text: str) -> int:
    """A whole number, zero or above."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def amount(text: str) -> float:
    """A number, zero or above."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError
    return number


def share(text: str) -> float:
    """A number between zero and one, both left out."""
    number = float(text)
    if not 0 < number < 1:
        raise ValueError
    return number


def made(folder: Path) -> Path:
    """The folder, made if need be.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be made: {error.strerror}", "name another folder"
        ) from error
    return folder
