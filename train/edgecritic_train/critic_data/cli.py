"""``edgecritic train data``: critic rows from their sources to a file that training takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module

_HERE = "edgecritic_train.critic_data"
COMMANDS = {
    "import": (f"{_HERE}.importing", "rows from a published set, a table or the data engine"),
    "build": (f"{_HERE}.building.command", "rows judged by a teacher"),
    "validate": (f"{_HERE}.validation.command", "find what would spoil a training run"),
    "stats": (f"{_HERE}.statistics.command", "count and draw what a file of rows holds"),
}
"""Name to the module whose `main` carries the command out, and what it does."""


def main(argv: Sequence[str]) -> int:
    """Run a data command; returns its exit status.

    Raises:
        CriticError: what went wrong.
    """
    listed = "\n".join(f"  {name:<10}{text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="edgecritic train data",
        description="Makes, checks and describes files of critic rows (rows.jsonl).",
        epilog=f"commands:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...")
    args = parser.parse_args(argv)
    command: Callable[[Sequence[str]], int] = import_module(COMMANDS[args.command][0]).main
    return command(args.arguments)
