"""``inspect`` and ``models``: what a critic is made of, and whether its files are there."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgecritic.cli import cards
from edgecritic.cli.console import Console
from edgecritic.cli.terminal import clean
from edgecritic.errors import ArtifactError

if TYPE_CHECKING:
    from edgecritic.bundle import Bundle
    from edgecritic.manifest import BundleFile

EMBEDDED = "embedded"


def add_inspect(parser: argparse.ArgumentParser) -> None:
    """Options of ``inspect``."""
    _add_bundle(parser)
    parser.add_argument("--json", action="store_true", help="the manifest as one line of JSON")


def add_models(parser: argparse.ArgumentParser) -> None:
    """The commands below ``models``."""
    commands = parser.add_subparsers(
        dest="action",
        required=True,
        metavar="ACTION",
        title="actions",
        prog="edgecritic models",
    )
    for name, help_text in (
        ("pull", "fetch the files that are kept in the cache folder"),
        ("list", "say which files there are, and where"),
        ("verify", "check size and sha256 of every file"),
    ):
        action = commands.add_parser(
            name,
            help=help_text,
            description=help_text.capitalize() + ".",
            usage=f"edgecritic models {name} [options] [BUNDLE]",
        )
        _add_bundle(action)
        if name != "pull":
            action.add_argument("--json", action="store_true", help="JSON Lines, one for each file")


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle",
        nargs="?",
        default=EMBEDDED,
        metavar="BUNDLE",
        help="folder with a critic.json; default: embedded",
    )


def read_bundle(name: str) -> Bundle:
    """The bundle of that folder, or the embedded one.

    Raises:
        ArtifactError: there is none.
    """
    from edgecritic.bundle import Bundle

    return Bundle.embedded() if name == EMBEDDED else Bundle.read(name)


def inspect(args: argparse.Namespace, console: Console) -> int:
    """Print what a bundle says about itself."""
    described = read_bundle(args.bundle).describe()
    if args.json:
        console.json(described)
    else:
        console.line(cards.heading(f"{described['name']} {described['version']}", console.style))
        for line in _outline(described, 0):
            console.line(line)
    return 0


def _outline(value: Mapping[str, object], depth: int) -> list[str]:
    """Keys and values, one a line, what lies deeper indented."""
    lines = []
    for key, item in value.items():
        label = "  " * depth + _line(key)
        if isinstance(item, Mapping):
            lines += [label, *_outline(item, depth + 1)]
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
    return clean(str(value)).replace("\n", " ")


def models(args: argparse.Namespace, console: Console) -> int:
    """Fetch, list or verify the files of a bundle."""
    if args.action == "pull":
        return _pull(args.bundle, console)
    bundle = read_bundle(args.bundle)
    if args.action == "list":
        return _list(bundle, args.json, console)
    return _verify(bundle, args.json, console)


def _pull(name: str, console: Console) -> int:
    from edgecritic.backends import choose_backend, in_engines_form
    from edgecritic.models import pull

    bundle = None if name == EMBEDDED else read_bundle(name)
    with console.busy(f"looking for the files of {clean(name)}") as tell:
        paths = pull(bundle, progress=tell)
        bundle = bundle or read_bundle(name)
        in_engines_form(bundle, choose_backend(bundle, "auto"), tell)
    for path in paths:
        console.line(clean(str(path)))
    if not paths:
        console.talk(f"{clean(name)} keeps all its files in its own folder")
    return 0


def _list(bundle: Bundle, as_json: bool, console: Console) -> int:
    for file in bundle.manifest.files:
        path = _place(bundle, file)
        present = _is_there(path)
        if as_json:
            console.json(_row(file, path) | {"present": present})
        else:
            state = "present" if present else "missing"
            console.line(_columns(state, file, path))
    return 0


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that must not be read
        return False


def _verify(bundle: Bundle, as_json: bool, console: Console) -> int:
    failed = 0
    for file in bundle.manifest.files:
        fault = None
        with console.busy(f"reading {file.path}"):
            try:
                path = bundle.verified(file)
            except ArtifactError as error:
                fault, path = error, _place(bundle, file)
        failed += fault is not None
        if as_json:
            why = None if fault is None else {"message": fault.message, "hint": fault.hint}
            console.json(_row(file, path) | {"whole": fault is None, "error": why})
        elif fault is None:
            console.line(_columns("ok", file, path))
        else:
            console.line(_columns("failed", file, path))
            console.talk(f"{fault.message}\nhint: {fault.hint}")
    return 1 if failed else 0


def _place(bundle: Bundle, file: BundleFile) -> Path:
    from edgecritic.models import cache_path

    return cache_path(file) if file.external else bundle.folder / file.path


def _row(file: BundleFile, path: Path) -> dict[str, object]:
    return {
        "role": file.role,
        "path": str(path),
        "size": file.size,
        "sha256": file.sha256,
        "quant": file.quant,
        "external": file.external,
    }


def _columns(state: str, file: BundleFile, path: Path) -> str:
    size = f"{file.size / 1e6:.1f} MB"
    return f"{state:<8} {file.role:<15} {file.quant:<6} {size:>10}  {clean(str(path))}"
