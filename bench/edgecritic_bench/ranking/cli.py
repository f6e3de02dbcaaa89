"""The commands on rankings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgecritic import Critic
from edgecritic.hub import find_bundle
from edgecritic_bench.checked import positive
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.ranking.matrices import collect, read
from edgecritic_bench.ranking.page import ranking_page


def _collect(args: argparse.Namespace, _: Sequence[str]) -> None:
    bundle = find_bundle(args.bundle)
    with Critic.load(bundle, threads=args.threads) as critic:
        for name in collect(critic, args.sets, args.responses, args.limit, args.out):
            print(name, file=sys.stderr, flush=True)


def _report(args: argparse.Namespace, argv: Sequence[str]) -> None:
    page = ranking_page(read(args.judged), args.simulated, Provenance.here(argv))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(page, encoding="utf-8", newline="\n")


COMMANDS: Mapping[str, Callable[[argparse.Namespace, Sequence[str]], None]] = {
    "judge-rankings": _collect,
    "rankings": _report,
}


def judge_rankings(parser: argparse.ArgumentParser) -> None:
    """Options of ``bench judge-rankings``."""
    parser.add_argument("sets", nargs="+", type=Path, metavar="SET", help="evaluation set folder")
    parser.add_argument("--out", type=Path, required=True, help="JSONL; gone on with if it exists")
    parser.add_argument("--bundle", default="embedded", help="folder with a critic.json")
    parser.add_argument("--responses", type=positive, default=5, help="of each question")
    parser.add_argument("--limit", type=positive, help="items of each set")
    parser.add_argument("--threads", type=positive, help="the physical cores when left out")


def rankings(parser: argparse.ArgumentParser) -> None:
    """Options of ``bench rankings``."""
    parser.add_argument("judged", type=Path, metavar="JUDGED", help="from bench judge-rankings")
    parser.add_argument("--simulated", type=positive, default=400, help="questions for each critic")
    parser.add_argument("--out", type=Path, default=Path("docs/ranking.md"))
