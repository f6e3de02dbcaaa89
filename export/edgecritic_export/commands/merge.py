"""``edgecritic export merge``: an adapter into its base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecritic_export.checkpoints.merge import merge_adapter
from edgecritic_export.checkpoints.source import resolve
from edgecritic_export.commands.options import SOURCE, Told, command_parser


def main(argv: Sequence[str]) -> int:
    """Merge, and print the folder of the merged checkpoint."""
    parser = command_parser("merge", "Merges a LoRA or QLoRA adapter into its base.")
    parser.add_argument("base", metavar="BASE", help=f"checkpoint: {SOURCE}")
    parser.add_argument("adapter", metavar="ADAPTER", help=f"PEFT adapter: {SOURCE}")
    parser.add_argument("--out", type=Path, required=True, help="folder of the merged checkpoint")
    parser.add_argument("--revision", help="of the base: branch, tag or commit on the hub")
    parser.add_argument("--adapter-revision", help="of the adapter, likewise")
    parser.add_argument(
        "--original-base",
        action="store_true",
        help="merge into the weights as they are, also where the adapter saw them in 4 bits",
    )
    args = parser.parse_args(argv)
    base = resolve(args.base, args.revision)
    adapter = resolve(args.adapter, args.adapter_revision).folder
    told = Told()
    done = merge_adapter(
        base.folder,
        adapter,
        args.out,
        dequantise=False if args.original_base else None,
        base_model=base.described,
        progress=told,
    )
    told(f"largest relative change: {done.largest_change:.3g}, of {done.most_changed}")
    if done.vanished:
        told(f"lost in rounding to the base's type: {', '.join(done.vanished)}")
    print(done.folder)
    return 0
