"""The commands on manipulated responses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from edgecritic_bench.checked import positive
from edgecritic_bench.numbers import write_json
from edgecritic_bench.protocols import rows_file
from edgecritic_bench.protocols.hub import locate
from edgecritic_bench.protocols.registry import benchmark
from edgecritic_bench.protocols.replies import read_replies
from edgecritic_bench.protocols.rows import PairRow
from edgecritic_bench.robustness.attacks import attacks, write_attacks
from edgecritic_bench.robustness.outcome import MOST_FLIPS, MOST_UPLIFT, outcome_table, outcomes


def _manipulate(args: argparse.Namespace, _: Sequence[str]) -> None:
    known = benchmark(args.benchmark)
    rows = known.load(locate(args.data, known.hub).path)
    pairs = [row for row in rows if isinstance(row, PairRow)]
    made = attacks(pairs, args.per_family, args.seed, args.families or ())
    count = write_attacks(args.out, made)
    _talk(f"{len(made)} attacks, {count} rows in {args.out}; judge them with: bench run rows")


def _robustness(args: argparse.Namespace, _: Sequence[str]) -> None:
    found = outcomes(rows_file.load(args.attacks), read_replies(args.verdicts))
    if args.json:
        write_json(args.json, {name: asdict(outcome) for name, outcome in found.items()})
    print(outcome_table(found))
    _talk(f"goals: win-flips at most {MOST_FLIPS:.0%}, uplift at most {MOST_UPLIFT:g}")


def _talk(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


COMMANDS: Mapping[str, Callable[[argparse.Namespace, Sequence[str]], None]] = {
    "manipulate": _manipulate,
    "robustness": _robustness,
}


def manipulate(parser: argparse.ArgumentParser) -> None:
    """Options of ``bench manipulate``."""
    parser.add_argument("benchmark", metavar="BENCHMARK", help="with pairs, as for bench run")
    parser.add_argument("data", metavar="DATA", help="as for bench run")
    parser.add_argument("--out", type=Path, required=True, help="rows file")
    parser.add_argument("--per-family", type=positive, default=100, help="attacks of each family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--families", nargs="+", metavar="FAMILY", help="all when left out")


def robustness(parser: argparse.ArgumentParser) -> None:
    """Options of ``bench robustness``."""
    parser.add_argument("attacks", type=Path, metavar="ATTACKS", help="from bench manipulate")
    parser.add_argument("verdicts", type=Path, metavar="REPLIES", help="from bench run rows")
    parser.add_argument("--json", type=Path, help="the numbers as JSON")
