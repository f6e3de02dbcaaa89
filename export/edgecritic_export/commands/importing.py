"""``edgecritic export import``: LLaVA-NeXT's original checkpoints in transformers' layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecritic_export.checkpoints.llava_next import import_checkpoint
from edgecritic_export.checkpoints.source import resolve
from edgecritic_export.commands.options import SOURCE, Told, command_parser


def main(argv: Sequence[str]) -> int:
    """Import a checkpoint and print the folder of the new one."""
    parser = command_parser(
        "import", "Rewrites an original LLaVA-NeXT checkpoint in transformers' layout."
    )
    parser.add_argument("source", metavar="SOURCE", help=SOURCE)
    parser.add_argument("--out", type=Path, required=True, help="folder of the new checkpoint")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    args = parser.parse_args(argv)
    source = resolve(args.source, args.revision)
    told = Told()
    done = import_checkpoint(source.folder, args.out, origin=source.origin, progress=told)
    told(f"{done.tensors} tensors, {done.nbytes / 1e9:.2f} GB{'' if done.written else ' already'}")
    if done.dropped:
        told(f"left out, as nothing reads them: {', '.join(done.dropped)}")
    print(done.folder)
    return 0
