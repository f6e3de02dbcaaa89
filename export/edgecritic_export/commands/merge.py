"""``edgecritic export merge``: an adapter into its base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecritic_export.checkpoints.merge import merge_adapter
from edgecritic_export.checkpoints.source import Source, resolve
from edgecritic_export.checkpoints.training import SUMMARY, other_base, trained_over_nf4
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
    _tell_doubts(base, adapter, told, guessed=not args.original_base)
    told(f"largest relative change: {done.largest_change:.3g}, of {done.most_changed}")
    if done.vanished:
        told(f"lost in rounding to the base's type: {', '.join(done.vanished)}")
    print(done.folder)
    return 0


def _tell_doubts(base: Source, adapter: Path, told: Told, *, guessed: bool) -> None:
    """Tell what nobody can check: whose base this is, and over which weights it was trained."""
    trained = other_base(adapter, str(base.folder.resolve()), base.name)
    if trained is not None:
        told(f"{adapter} was trained on {trained}: see that {base.folder} is the same model")
    if guessed and trained_over_nf4(adapter) is None:
        told(
            f"no {SUMMARY} in {adapter} says over which weights it was trained: they are taken to "
            "be NF4's, as in QLoRA; --original-base takes them as they are"
        )
