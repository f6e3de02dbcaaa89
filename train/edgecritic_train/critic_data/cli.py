"""``edgecritic train data``: critic rows from their sources to a file that training takes."""

from __future__ import annotations

from collections.abc import Sequence

from edgecritic.cli.commands import hand_over

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
    does = "Makes, checks and describes files of critic rows (rows.jsonl)."
    return hand_over("edgecritic train data", does, COMMANDS, argv)
