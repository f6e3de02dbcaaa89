"""``edgecritic export verify``: bundles beside the checkpoint that they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecritic import Bundle
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.source import resolve
from edgecritic_export.commands.options import (
    BUNDLE,
    SOURCE,
    Told,
    add_adapter,
    add_verification,
    command_parser,
    verification,
)
from edgecritic_export.verify.bundles import verify_bundles
from edgecritic_export.verify.checks import table


def main(argv: Sequence[str]) -> int:
    """Verify, and print a table for each bundle; 1 if one is not what its checkpoint is."""
    parser = command_parser(
        "verify", "Compares bundles with the checkpoint that they were made from."
    )
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help=BUNDLE)
    parser.add_argument("--reference", required=True, help=f"its checkpoint: {SOURCE}")
    add_adapter(parser, "belongs to the checkpoint")
    add_verification(parser, required=True)
    args = parser.parse_args(argv)
    bundles = [Bundle.read(folder) for folder in args.bundles]
    with Checkpoint.open(resolve(args.reference).folder) as checkpoint:
        found = verify_bundles(bundles, checkpoint, verification(args), Told())
    for bundle, verified in zip(bundles, found, strict=True):
        print(f"{bundle.folder}\n\n{table(verified.checks)}")
    return int(not all(verified.passed for verified in found))
