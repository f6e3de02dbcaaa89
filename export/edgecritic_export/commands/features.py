"""``edgecritic export features``: image features as a bundle's files give them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecritic import Bundle
from edgecritic.cli.options import at_least
from edgecritic_export.commands.options import BUNDLE, command_parser
from edgecritic_export.features import bundle_features, save_features


def main(argv: Sequence[str]) -> int:
    """Encode a set's pictures, and write their features."""
    parser = command_parser("features", "Writes image features as a bundle's files give them.")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help=BUNDLE)
    parser.add_argument("--set", type=Path, required=True, dest="folder", help="evaluation set")
    parser.add_argument("--out", type=Path, required=True, help=".npz, for bench parity")
    parser.add_argument("--limit", type=at_least(1), help="items of the set")
    parser.add_argument("--threads", type=at_least(1), help="the physical cores when left out")
    args = parser.parse_args(argv)
    bundle = Bundle.read(args.bundle)
    found = bundle_features(bundle, args.folder, limit=args.limit, threads=args.threads)
    save_features(found, args.out)
    print(f"{len(found)} pictures in {args.out}")
    return 0
