"""Options of ``edgecritic bench``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from edgecritic.cli.commands import group_parser
from edgecritic_bench.checked import positive
from edgecritic_bench.protocols import options as protocols
from edgecritic_bench.quantization import cli as quantization
from edgecritic_bench.ranking import cli as ranking
from edgecritic_bench.recalibration import cli as recalibration
from edgecritic_bench.records import CONDITIONS, SETTINGS
from edgecritic_bench.robustness import cli as robustness
from edgecritic_bench.speed import cli as speed
from edgecritic_bench.versions import cli as versions

PROG = "edgecritic bench"


def build_parser() -> argparse.ArgumentParser:
    """The parser of all bench commands."""
    parser = group_parser(
        PROG,
        "Measures how far a critic's judgements can be trusted, and what they cost.",
        {name: does for name, (does, _) in _COMMANDS.items()},
    )
    named = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", prog=PROG, help=argparse.SUPPRESS
    )
    for name, (does, add) in _COMMANDS.items():
        command = named.add_parser(
            name,
            description=f"{does[0].upper()}{does[1:]}.",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            allow_abbrev=False,
        )
        add(command)
    return parser


def _judge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sets", nargs="+", type=Path, metavar="SET", help="evaluation set folder")
    parser.add_argument("--out", type=Path, required=True, help="JSONL; gone on with if it exists")
    _bundle(parser)
    parser.add_argument("--limit", type=positive, help="items of each set")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument(
        "--shared", action="store_true", help="one ranking a picture: faster, other batches"
    )
    parser.add_argument("--threads", type=positive, help="the physical cores when left out")


def _calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "records", nargs="*", type=Path, metavar="RECORDS", help="of bench judge, for --out as JSON"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON; with --bundle the calibrated bundle's folder"
    )
    recalibration.options(parser)


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORDS")
    parser.add_argument("--calibration", type=Path, required=True, help="from bench calibrate")
    parser.add_argument("--out", type=Path, default=Path("docs/embedded-critic.md"))
    parser.add_argument("--plots", type=Path, default=Path("docs/images"))
    parser.add_argument("--parity", type=Path, help="Markdown from bench parity, put into the page")
    parser.add_argument("--against", type=Path, help="likewise from bench versions")
    parser.add_argument("--judged-by", default="", help="critic and engine, if nothing noted them")


def _parity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", type=Path, help="records of the reference")
    parser.add_argument("other", type=Path, help="records of the engine to compare with it")
    parser.add_argument("--names", nargs=2, metavar=("REFERENCE", "OTHER"), help="of the engines")
    parser.add_argument(
        "--features", nargs=2, type=Path, metavar=("REFERENCE", "OTHER"), help=".npy or .npz"
    )
    parser.add_argument("--out", type=Path, help="Markdown; stdout when left out")
    parser.add_argument("--json", type=Path, help="the numbers as JSON")


def _bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="embedded", help="folder with a critic.json")


_COMMANDS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], object]]] = {
    "judge": ("judge evaluation sets and record every verdict", _judge),
    "calibrate": ("fit temperatures, ties, scores and their intervals", _calibrate),
    "report": ("write the page on agreement, with plots, from records", _report),
    "parity": ("compare the records of two engines row by row", _parity),
    "speed": ("tell what judgements cost, beside other engines", speed.speed),
    "benchmarks": ("list the public benchmarks and their protocols", protocols.benchmarks),
    "run": ("judge a benchmark and keep every verdict", protocols.run),
    "import": ("turn somebody else's verdicts into ours", protocols.import_),
    "score": ("score verdicts by a benchmark's protocol, judges side by side", protocols.score),
    "manipulate": ("write manipulated responses to known pairs", robustness.manipulate),
    "robustness": ("tell how often manipulation won", robustness.robustness),
    "judge-rankings": ("judge all ordered pairs of responses", ranking.judge_rankings),
    "rankings": ("write the page on rankings with fewer judgements", ranking.rankings),
    "quantization": ("judge with every quantization, and report", quantization.quantization),
    "recommend": ("name the smallest equivalent quantization", quantization.recommendation),
    "versions": ("compare two versions of a critic row by row", versions.versions),
}
"""By name what a command does, and what adds its options."""
