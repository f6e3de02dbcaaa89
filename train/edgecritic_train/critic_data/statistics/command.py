"""``edgecritic train data stats``: stats.json and stats.png."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edgecritic.errors import InputError
from edgecritic_train.critic_data.rows import SPLITS, read_rows
from edgecritic_train.critic_data.statistics.collect import collect
from edgecritic_train.critic_data.statistics.figure import draw
from edgecritic_train.critic_data.writing import write_bytes, write_json


def main(argv: Sequence[str]) -> int:
    """Count and draw rows; returns 0."""
    args = _parser().parse_args(argv)
    statistics = collect(row for path in args.files for row in read_rows(path, args.split))
    if not statistics.rows:
        raise InputError(
            f"there are no rows in {', '.join(map(str, args.files))}", "check the file and --split"
        )
    write_json(args.out / "stats.json", statistics.to_dict())
    write_bytes(args.out / "stats.png", draw(statistics))
    sys.stdout.write(f"{args.out / 'stats.json'}\n{args.out / 'stats.png'}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgecritic train data stats",
        description="Counts and draws sources, settings, verdicts and lengths of critic rows.",
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="ROWS")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument("--split", choices=SPLITS, help="only this split")
    return parser
