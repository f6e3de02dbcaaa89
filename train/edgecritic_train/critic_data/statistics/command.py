"""``edgecritic train data stats``: stats.json and stats.png."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from edgecritic.errors import InputError
from edgecritic_train.critic_data.rows import SPLITS, read_rows
from edgecritic_train.critic_data.statistics.collect import collect
from edgecritic_train.critic_data.statistics.figure import draw


def main(argv: Sequence[str]) -> int:
    """Count and draw rows; returns 0."""
    args = _parser().parse_args(argv)
    statistics = collect(row for path in args.files for row in read_rows(path, args.split))
    if not statistics.rows:
        raise InputError(
            f"there are no rows in {', '.join(map(str, args.files))}", "check the file and --split"
        )
    args.out.mkdir(parents=True, exist_ok=True)
    content = json.dumps(statistics.to_dict(), indent=1, ensure_ascii=False) + "\n"
    (args.out / "stats.json").write_text(content, encoding="utf-8")
    draw(statistics, args.out / "stats.png")
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
