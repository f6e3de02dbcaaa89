"""The commands that compare quantizations, and that answer from a report."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgecritic import CriticError
from edgecritic_bench.checked import amount, count, made, positive
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.quantization.arms import plan_arms
from edgecritic_bench.quantization.progress import Teller
from edgecritic_bench.quantization.recommendation import parse_bytes, recommend
from edgecritic_bench.quantization.report import build_report, read_report, write_report
from edgecritic_bench.quantization.rows import Sample, prepare_rows
from edgecritic_bench.quantization.run import Run, RunOptions
from edgecritic_bench.quantization.sentences import reason_words

_RUN, _SAMPLE = RunOptions(), Sample(())
_MARGIN_POINTS = 2.0
_PACKAGES = ("edgecritic", "llama-cpp-python", "onnxruntime", "torch", "transformers", "numpy")


def _quantization(args: argparse.Namespace, argv: Sequence[str]) -> None:
    made(args.report or args.out)
    made(args.out)
    sample = Sample(
        tuple(args.data), args.pairs, args.scores, args.per_item, args.attacks, args.seed
    )
    arms = plan_arms(args.bundles, args.reference, args.out)
    rows = prepare_rows(sample, args.out)
    names = ", ".join(arm.name for arm in arms)
    _talk(f"{len(arms)} arms, each to judge at most {len(rows.all):,} rows: {names}")
    seconds = None if args.minutes is None else args.minutes * 60
    options = RunOptions(
        jobs=args.jobs,
        seconds=seconds,
        threads=args.threads,
        device=args.device,
        parts=args.parts,
        only=tuple(args.arms),
        attacked=tuple(args.attack_arms),
        reason_seconds=args.reason_minutes * 60,
    )
    run = Run(args.out, arms, sample, rows, options)
    if not args.report_now:
        run.judge(Teller())
    if args.report_now:
        run = run.narrowed(args.arms)
    elif args.arms:
        _talk("judged; leave --arms out for the other arms, and the report")
        return
    here = Provenance.here(argv, _PACKAGES)
    report = build_report(run, args.margin / 100, here, reasons=not args.no_reasons)
    _talk(reason_words(report))
    for path in write_report(report, args.report or args.out):
        _talk(f"{path} is written")
    print(report["recommendation"]["words"])


def _recommend(args: argparse.Namespace, _: Sequence[str]) -> None:
    report = read_report(args.report)
    margin = report["margin"] if args.margin is None else args.margin / 100
    most = math.inf if args.max_ram is None else parse_bytes(args.max_ram)
    answer = recommend(report["arms"], margin, most)
    if not answer.arm:
        raise CriticError(answer.words, "judge more rows, or allow a wider margin or more memory")
    print(answer.words)


def _talk(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


COMMANDS: Mapping[str, Callable[[argparse.Namespace, Sequence[str]], None]] = {
    "quantization": _quantization,
    "recommend": _recommend,
}


def quantization(parser: argparse.ArgumentParser) -> None:
    """Options of ``bench quantization``."""
    arms = parser.add_argument_group("arms")
    arms.add_argument(
        "--bundles",
        nargs="+",
        required=True,
        metavar="[NAME=]FOLDER",
        help="bundles, or what holds some",
    )
    arms.add_argument(
        "--reference", type=Path, metavar="CHECKPOINT", help="what transformers runs as reference"
    )
    rows = parser.add_argument_group("rows")
    rows.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="DATA",
        help="rows files, evaluation sets, BENCHMARK:PATH or BENCHMARK:hub:",
    )
    rows.add_argument("--pairs", type=count, default=_SAMPLE.pairs, help="at most so many")
    rows.add_argument("--scores", type=count, default=_SAMPLE.scores, help="at most so many")
    rows.add_argument(
        "--per-item", type=positive, default=_SAMPLE.per_item, help="of each, from one item"
    )
    rows.add_argument(
        "--attacks", type=count, default=_SAMPLE.attacks, help="of each family; 0 for none"
    )
    rows.add_argument(
        "--attack-arms",
        nargs="+",
        default=(),
        metavar="NAME",
        help="arms that judge manipulated rows, beside the reference; all when left out",
    )
    rows.add_argument("--seed", type=int, default=_SAMPLE.seed, help="of what is drawn")
    running = parser.add_argument_group("running")
    running.add_argument(
        "--out", type=Path, required=True, help="folder; gone on with if it is there"
    )
    running.add_argument("--jobs", type=positive, default=_RUN.jobs, help="processes at a time")
    running.add_argument(
        "--parts",
        type=positive,
        default=_RUN.parts,
        help="processes that share each arm's pictures",
    )
    running.add_argument(
        "--arms",
        nargs="+",
        default=(),
        metavar="NAME",
        help="judge by these only, in this order, such as 'onnx*'; report only with --report-now",
    )
    running.add_argument("--minutes", type=amount, help="stop after so long; run again to go on")
    running.add_argument(
        "--threads", type=positive, help="of each arm; the cores' share when left out"
    )
    running.add_argument("--device", choices=("auto", "cpu", "gpu"), default=_RUN.device)
    running.add_argument(
        "--report-now",
        action="store_true",
        help="judge nothing; report what all arms, or those of --arms, have judged",
    )
    running.add_argument(
        "--margin", type=amount, default=_MARGIN_POINTS, help="points within which arms are equal"
    )
    running.add_argument("--report", type=Path, help="folder of the report; that of the run")
    running.add_argument(
        "--no-reasons", action="store_true", help="do not ask for reasons of the sample rows"
    )
    running.add_argument(
        "--reason-minutes",
        type=amount,
        default=_RUN.reason_seconds / 60,
        help="ask for no further reason after so long; run again for the others",
    )


def recommendation(parser: argparse.ArgumentParser) -> None:
    """Options of ``bench recommend``."""
    parser.add_argument("report", type=Path, metavar="REPORT.json", help="of bench quantization")
    parser.add_argument("--max-ram", metavar="SIZE", help="memory that it may take, such as 8GB")
    parser.add_argument("--margin", type=amount, help="points; the report's own when left out")
