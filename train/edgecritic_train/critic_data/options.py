"""Options that several data commands share."""

from __future__ import annotations

import argparse
import math
from contextlib import suppress

from edgecritic.errors import InputError, shown
from edgecritic_train.critic_data.splitting import Shares


def above_zero(text: str) -> int:
    """A whole number from 1 up.

    Raises:
        ArgumentTypeError: it is none; argparse tells.
    """
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no whole number from 1 up")
    return int(text)


def from_zero(text: str) -> float:
    """A finite number from 0 up.

    Raises:
        ArgumentTypeError: it is none; argparse tells.
    """
    with suppress(ValueError):
        if 0 <= (value := float(text)) < math.inf:
            return value
    raise argparse.ArgumentTypeError(f"{shown(text)} is no number from 0 up")


def add_splits(parser: argparse.ArgumentParser) -> None:
    """``--validation`` and ``--test``."""
    for name in ("validation", "test"):
        parser.add_argument(
            f"--{name}",
            type=float,
            default=0.0,
            metavar="SHARE",
            help=f"share of the groups (pictures) that is held out for {name}",
        )


def shares_of(args: argparse.Namespace) -> Shares:
    """The shares that the options state."""
    return Shares(args.validation, args.test, args.seed)


def add_columns(parser: argparse.ArgumentParser) -> None:
    """``--column``."""
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="OURS=THEIRS",
        help="a column of the table under another name, such as question=prompt",
    )


def column_map(args: argparse.Namespace) -> dict[str, str]:
    """Our names of columns to the table's."""
    columns: dict[str, str] = {}
    for text in args.column:
        ours, equals, theirs = text.partition("=")
        if not equals or not ours or not theirs:
            raise InputError(f"--column is {shown(text)}", "write it as question=prompt")
        columns[ours] = theirs
    return columns
