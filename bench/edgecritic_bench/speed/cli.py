"""``edgecritic bench speed``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, get_args

from edgecritic_bench.checked import positive
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.speed.engines import ENGINES, Setup
from edgecritic_bench.speed.page import write_page
from edgecritic_bench.speed.plan import (
    CPU_ENGINES,
    CPU_SIZES,
    GPU_ENGINES,
    GPU_PARTS,
    GPU_SIZES,
    Kind,
    Options,
    Parts,
    default_rows,
)
from edgecritic_bench.speed.rows import Rows
from edgecritic_bench.speed.run import measure
from edgecritic_bench.speed.tasks import TASKS, Size

_DEFAULTS: Final = Options()
_PACKAGES: Final = (
    *("edgecritic", "llama-cpp-python", "xllamacpp", "onnxruntime", "torch", "transformers"),
    *("bitsandbytes", "numpy", "pillow"),
)


def speed(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--bundle", default="embedded", help="folder with a critic.json")
    parser.add_argument("--checkpoint", help="the same critic as a folder for transformers")
    parser.add_argument("--gpu", action="store_true", help="run on a GPU; other defaults")
    parser.add_argument("--threads", type=positive, default=_DEFAULTS.setup.threads)
    parser.add_argument("--n-ctx", type=positive, help="default: the bundle's")
    parser.add_argument("--answer-tokens", type=positive, default=_DEFAULTS.setup.answer_tokens)
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), metavar="ENGINE")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    parser.add_argument("--sizes", nargs="+", type=picture_size, metavar="WxH")
    parser.add_argument("--rounds", type=positive, default=_DEFAULTS.rounds)
    parser.add_argument("--repeats", type=positive, default=_DEFAULTS.repeats)
    parser.add_argument("--unrelated", type=positive, default=_DEFAULTS.count, metavar="N")
    parser.add_argument(
        "--few",
        type=positive,
        default=_DEFAULTS.few,
        help="requests timed of an engine without batches",
    )
    parser.add_argument("--only", nargs="+", choices=get_args(Kind), default=[], metavar="KIND")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing later")
    parser.add_argument("--rows", type=Path, help="JSONL; gone on with if it exists")
    parser.add_argument("--render", action="store_true", help="measure nothing, write the page")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--plots", type=Path, default=Path("docs/images"))


def picture_size(text: str) -> Size:
    """``1920x1080``."""
    width, height = map(positive, text.split("x"))
    return width, height


def main(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """Measure what is missing, and write the page."""
    options = options_of(args)
    rows = Rows(args.rows or default_rows(args.out))
    if not args.render:
        rows.add("run", {"provenance": Provenance.here(argv, _PACKAGES).to_dict()})
        for line in measure(options, rows):
            print(line, file=sys.stderr, flush=True)
    write_page(rows, options, args.out, args.plots)
    print(f"{args.out} is written", file=sys.stderr)


def options_of(args: argparse.Namespace) -> Options:
    """The run that was asked for."""
    setup = Setup(
        folder=args.bundle,
        checkpoint=args.checkpoint,
        gpu=args.gpu,
        threads=args.threads,
        n_ctx=args.n_ctx,
        answer_tokens=args.answer_tokens,
    )
    usual = (GPU_ENGINES, GPU_SIZES, GPU_PARTS) if args.gpu else (CPU_ENGINES, CPU_SIZES, Parts())
    engines, sizes, parts = usual
    if args.checkpoint is not None and not args.gpu:
        engines = (*engines, "generate")
    return replace(
        _DEFAULTS,
        setup=setup,
        engines=tuple(args.engines or engines),
        tasks=tuple(args.tasks),
        sizes=tuple(args.sizes or sizes),
        rounds=args.rounds,
        repeats=args.repeats,
        count=args.unrelated,
        few=args.few,
        parts=parts,
        only=tuple(args.only),
        seconds=args.seconds,
    )
