"""``edgecritic export``: trained checkpoints to the files that the runtime opens."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from edgecritic import Bundle
from edgecritic_export.embedded.bundle import EmbeddedOptions, export_embedded
from edgecritic_export.features import bundle_features, save_features


def build_parser() -> argparse.ArgumentParser:
    """The parser of all export commands."""
    parser = argparse.ArgumentParser(
        prog="edgecritic export",
        description="Turns trained checkpoints into the files that the runtime opens.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text, add in (
        ("embedded", "write the bundle of an embedded critic", _add_embedded),
        ("features", "write image features as a bundle's files give them", _add_features),
    ):
        command = commands.add_parser(
            name,
            help=help_text,
            description=f"{help_text[0].upper()}{help_text[1:]}.",
            allow_abbrev=False,
        )
        add(command)
    return parser


def _add_embedded(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the training run")
    parser.add_argument(
        "--language-model", type=Path, required=True, help="GGUF that it was trained over"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--version", required=True, help="of the critic, such as 1.0")
    parser.add_argument("--calibration", type=Path, help="JSON from bench calibrate")
    parser.set_defaults(run_command=_embedded)


def _add_features(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder with a critic.json")
    parser.add_argument("--set", type=Path, required=True, dest="folder", help="evaluation set")
    parser.add_argument("--out", type=Path, required=True, help=".npz, for bench parity")
    parser.add_argument("--limit", type=int, help="items of the set")
    parser.add_argument("--threads", type=int, help="the physical cores when left out")
    parser.set_defaults(run_command=_features)


def main(argv: Sequence[str]) -> int:
    """Run an export command.

    Args:
        argv: the arguments behind ``edgecritic export``.

    Returns:
        The exit status; 2 where argparse refuses the arguments.

    Raises:
        CriticError: what went wrong; the runtime's command line turns it into text and a status.
    """
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stopped:  # argparse has said why
        return stopped.code if isinstance(stopped.code, int) else 2
    command: Callable[[argparse.Namespace], None] = args.run_command
    command(args)
    return 0


def _embedded(args: argparse.Namespace) -> None:
    options = EmbeddedOptions(args.version, args.calibration)
    bundle = export_embedded(args.run, args.language_model, args.out, options)
    inside = [file for file in bundle.manifest.files if not file.external]
    for file in inside:
        print(f"{file.size:>12,}  {file.path}")
    print(f"{sum(file.size for file in inside):>12,}  {bundle.name} in {bundle.folder}")
    for file in bundle.manifest.files:
        if file.external:
            print(f"not counted: {file.path}, {file.size:,} bytes, fetched by models pull")


def _features(args: argparse.Namespace) -> None:
    bundle = Bundle.read(args.bundle)
    found = bundle_features(bundle, args.folder, limit=args.limit, threads=args.threads)
    save_features(found, args.out)
    print(f"{len(found)} pictures in {args.out}")
