"""Judges the same pairs in several engines and prints how they agree.

``scripts/compare_engines.py --set FOLDER --out FOLDER hf=BUNDLE onnx=BUNDLE llamacpp=BUNDLE``:
the first engine is the reference.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgecritic_bench.engines import EnginePlan, compare_engines, summary, to_json


def _engine(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not equals or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not ENGINE=BUNDLE")
    return name, Path(folder)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="+", type=_engine, metavar="ENGINE=BUNDLE")
    parser.add_argument("--set", required=True, type=Path, help="evaluation set")
    parser.add_argument("--out", required=True, type=Path, help="folder for records and numbers")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    plan = EnginePlan(args.set, args.out, args.rows, args.threads)
    found = compare_engines(dict(args.engines), plan, lambda line: sys.stderr.write(f"{line}\n"))
    (args.out / "engines.json").write_text(to_json(found, plan), encoding="utf-8")
    sys.stdout.write(summary(found, plan))


if __name__ == "__main__":
    main()
