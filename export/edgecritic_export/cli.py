"""``edgecritic export``: checkpoints to the files that the runtime opens.

stdout is data, stderr is talk, as in the runtime's own commands.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgecritic.cli.commands import hand_over

_HERE = "edgecritic_export.commands"
COMMANDS = {
    "import": (
        f"{_HERE}.importing",
        "rewrite an original LLaVA-NeXT checkpoint in transformers' layout",
    ),
    "merge": (f"{_HERE}.merge", "merge a LoRA or QLoRA adapter into its base"),
    "imatrix": (f"{_HERE}.imatrix", "measure which inputs of a critic's matrices matter"),
    "all": (
        f"{_HERE}.everything",
        "write GGUF and ONNX bundles of a checkpoint, and verify them",
    ),
    "verify": (
        f"{_HERE}.verify",
        "compare bundles with the checkpoint that they were made from",
    ),
    "embedded": (f"{_HERE}.embedded", "write the bundle of an embedded critic"),
    "features": (f"{_HERE}.features", "write image features as a bundle's files give them"),
}
"""Name to the module whose `main` carries the command out, and what it does."""


def main(argv: Sequence[str]) -> int:
    """Run an export command.

    Args:
        argv: the arguments behind ``edgecritic export``.

    Returns:
        The exit status; 1 if an export is not verified, 2 where argparse refuses the arguments.

    Raises:
        CriticError: what went wrong; the runtime's command line turns it into text and a status.
        ImportError: a package of the extra ``export`` is missing; that command line names it.
    """
    return hand_over(
        "edgecritic export",
        "Turns trained checkpoints into the files that the runtime opens.",
        COMMANDS,
        argv,
    )
