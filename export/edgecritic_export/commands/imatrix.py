"""``edgecritic export imatrix``: how strongly the inputs of a critic's matrices are driven."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecritic import Bundle
from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import MANIFEST
from edgecritic.cli.options import at_least
from edgecritic_export.bundles.importance import (
    CalibrationOptions,
    bundle_importance,
    checkpoint_importance,
)
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.source import resolve
from edgecritic_export.commands.options import SOURCE, Told, add_engine, command_parser


def main(argv: Sequence[str]) -> int:
    """Measure, and write the importance matrix."""
    parser = command_parser("imatrix", "Measures which inputs of a critic's matrices matter.")
    parser.add_argument(
        "source", metavar="CHECKPOINT|BUNDLE", help=f"{SOURCE}; or a bundle in F32, F16 or BF16"
    )
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument(
        "--items", type=Path, required=True, metavar="SET", help="judged items, with items.jsonl"
    )
    parser.add_argument("--out", type=Path, required=True, help="GGUF file, for all --imatrix")
    parser.add_argument(
        "--dialect", help="prompts of a CHECKPOINT; those of its family when left out"
    )
    parser.add_argument("--text-only", action="store_true", help="leave the pictures out")
    parser.add_argument("--limit", type=at_least(1), default=64, help="items to read; default: 64")
    parser.add_argument(
        "--n-ctx", type=at_least(1), default=16_384, help="longest row; default: 16384"
    )
    add_engine(parser)
    args = parser.parse_args(argv)
    engine = EngineOptions(n_ctx=args.n_ctx, n_threads=args.threads, device=args.device)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    options = CalibrationOptions(args.items, args.limit, args.text_only, engine, args.dialect)
    if (Path(args.source) / MANIFEST).is_file():
        importance = bundle_importance(Bundle.read(args.source), options, Told())
    else:
        folder = resolve(args.source, args.revision).folder
        with Checkpoint.open(folder) as checkpoint:
            importance = checkpoint_importance(checkpoint, args.out, options, Told())
    importance.write(args.out)
    seen = f"{importance.n_rows} rows of {max(importance.counts.values()):,} positions"
    print(f"{args.out}: {len(importance.names)} matrices, {seen}")
    return 0
