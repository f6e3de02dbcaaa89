"""Options that several export commands share, and what progress they tell."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgecritic import InputError
from edgecritic.backends.options import EngineOptions
from edgecritic.cli.console import Console
from edgecritic.cli.options import at_least
from edgecritic_export.checkpoints.source import resolve
from edgecritic_export.gguf.calibration import ITEMS
from edgecritic_export.verify.bundles import VerifyOptions

BUNDLE: Final = "folder with a critic.json"
SOURCE: Final = "folder, or owner/name on the hub"


def command_parser(name: str, description: str) -> argparse.ArgumentParser:
    """The parser of ``edgecritic export NAME``."""
    return argparse.ArgumentParser(
        prog=f"edgecritic export {name}", description=description, allow_abbrev=False
    )


def add_adapter(parser: argparse._ActionsContainer, what: str) -> None:
    """Add ``--adapter``; `what` says what becomes of it."""
    parser.add_argument("--adapter", metavar="ADAPTER", help=f"LoRA of PEFT that {what}: {SOURCE}")


def add_engine(parser: argparse._ActionsContainer) -> None:
    """Add where judgements are made."""
    parser.add_argument("--threads", type=at_least(1), help="the physical cores when left out")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")


def add_verification(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add what bundles are compared with their checkpoint on."""
    group = parser.add_argument_group("verification")
    group.add_argument(
        "--rows", type=Path, required=required, help="evaluation set to judge, with items.jsonl"
    )
    group.add_argument("--limit", type=at_least(1), default=40, help="pairs to judge; default: 40")
    group.add_argument(
        "--reference-weights",
        choices=("fp32", "bf16", "fp16"),
        default="fp32",
        help="of the checkpoint that is compared with; bf16 takes half of the memory",
    )
    add_engine(group)


def verification(args: argparse.Namespace) -> VerifyOptions:
    """What the options of `add_verification` say.

    Raises:
        CriticError: the rows or the adapter cannot be found.
    """
    if not (args.rows / ITEMS).is_file():
        raise InputError(
            f"--rows: {args.rows} holds no {ITEMS}", "write a set with: edgecritic train items"
        )
    engine = EngineOptions(n_threads=args.threads, device=args.device)
    reference = replace(engine, weights=args.reference_weights)
    adapter = None if args.adapter is None else resolve(args.adapter).folder
    return VerifyOptions(args.rows, args.limit, reference, engine, adapter)


class Told:
    """Progress on stderr."""

    def __init__(self) -> None:
        self._console = Console.standard()

    def __call__(self, line: str) -> None:
        self._console.talk(line)

    def measured(
        self, label: str, total: int, done: Callable[[], int]
    ) -> AbstractContextManager[None]:
        """A gauge of `done` of `total` bytes, for as long as the context lasts."""
        return self._console.measured(label, total, done)
