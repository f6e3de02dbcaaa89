"""``inspect``: what a critic is made of."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgecritic.cli import cards
from edgecritic.cli.console import Console
from edgecritic.cli.terminal import clean

if TYPE_CHECKING:
    from edgecritic.bundle import Bundle

EMBEDDED = "embedded"


def add_inspect(parser: argparse.ArgumentParser) -> None:
    """Options of ``inspect``."""
    _add_bundle(parser)
    parser.add_argument("--json", action="store_true", help="the manifest as one line of JSON")


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle",
        nargs="?",
        default=EMBEDDED,
        metavar="BUNDLE",
        help="folder with a critic.json, or the name it was pulled by; default: embedded",
    )


def read_bundle(name: str) -> Bundle:
    """The bundle of that folder or that was pulled by that name, or the embedded one.

    Raises:
        ArtifactError: there is none.
    """
    from edgecritic.hub import find_bundle

    return find_bundle(name)


def inspect(args: argparse.Namespace, console: Console) -> int:
    """Print what a bundle says about itself."""
    described = read_bundle(args.bundle).describe()
    if args.json:
        console.json(described)
        return 0
    console.line(cards.heading(f"{described['name']} {described['version']}", console.style))
    first: dict[str, object] = {
        key: described.pop(key) for key in ("good_for", "bad_for") if key in described
    }
    long = {"training": described.pop("training")} if "training" in described else {}
    for line in _outline({**first, **described, **long}, 0):
        console.line(line)
    return 0


def _outline(value: Mapping[str, object], depth: int) -> list[str]:
    """Keys and values, one a line, what lies deeper indented."""
    lines = []
    for key, item in value.items():
        label = "  " * depth + _line(key)
        if isinstance(item, Mapping):
            lines += [label, *_outline(item, depth + 1)]
        elif isinstance(item, list) and all(isinstance(part, int | float) for part in item):
            lines.append(f"{label}: {_line(item)}")
        elif isinstance(item, list):
            lines.append(label)
            for part in item:
                if isinstance(part, Mapping) and part:
                    first, *rest = _outline(part, depth + 2)
                    lines += ["  " * (depth + 1) + "- " + first.lstrip(), *rest]
                else:
                    lines.append("  " * (depth + 1) + f"- {_line(part)}")
        else:
            lines.append(f"{label}: {_line(item)}")
    return lines


def _line(value: object) -> str:
    """On one line, so that no text of a bundle looks like another entry."""
    match value:
        case None | "" | []:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() if not any(isinstance(part, list | dict) for part in value):
            return ", ".join(map(_line, value))
        case _:
            return clean(str(value)).replace("\n", " ")
