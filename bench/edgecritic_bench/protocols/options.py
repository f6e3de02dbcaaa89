"""Options of the commands on public benchmarks."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgecritic_bench.checked import amount, positive
from edgecritic_bench.protocols.importers import FORMATS
from edgecritic_bench.protocols.registry import BENCHMARKS
from edgecritic_bench.protocols.scores import PROTOCOLS

_MARGIN_POINTS = 2.0


def benchmarks(parser: argparse.ArgumentParser) -> None:
    """``bench benchmarks``."""
    parser.add_argument("--json", action="store_true", help="as JSON Lines")


def run(parser: argparse.ArgumentParser) -> None:
    """``bench run``."""
    _data(parser)
    parser.add_argument("--out", type=Path, required=True, help="JSONL; gone on with if it exists")
    parser.add_argument("--bundle", default="embedded", help="folder with a critic.json")
    parser.add_argument("--limit", type=positive, help="rows")
    parser.add_argument("--threads", type=positive, help="the physical cores when left out")


def import_(parser: argparse.ArgumentParser) -> None:
    """``bench import``."""
    parser.add_argument("format", choices=tuple(FORMATS), metavar="FORMAT", help=", ".join(FORMATS))
    _data(parser)
    parser.add_argument("verdicts", type=Path, metavar="VERDICTS", help="the file to read")
    parser.add_argument("--out", type=Path, required=True, help="JSONL of replies")


def score(parser: argparse.ArgumentParser) -> None:
    """``bench score``."""
    _data(parser)
    parser.add_argument(
        "verdicts", nargs="+", metavar="[NAME=]REPLIES", help="a judge each; the first is reference"
    )
    parser.add_argument(
        "--protocol", choices=PROTOCOLS, help="the benchmark's first one when left out"
    )
    parser.add_argument(
        "--margin", type=amount, default=_MARGIN_POINTS, help="points within which judges are equal"
    )
    parser.add_argument("--partial", action="store_true", help="leave out rows without a verdict")
    parser.add_argument("--json", type=Path, help="the numbers as JSON")
    parser.add_argument("--out", type=Path, help="Markdown; stdout when left out")


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "benchmark", choices=tuple(BENCHMARKS), metavar="BENCHMARK", help=", ".join(BENCHMARKS)
    )
    parser.add_argument("data", metavar="DATA", help="file or folder, or hub: to fetch it")
