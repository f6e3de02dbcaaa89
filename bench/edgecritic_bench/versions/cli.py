"""The command that compares two versions of a critic."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from edgecritic import InputError
from edgecritic_bench import calibration
from edgecritic_bench.calibration import Calibration
from edgecritic_bench.numbers import write_json
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.records import read_records
from edgecritic_bench.versions.change import compare_versions
from edgecritic_bench.versions.manipulation import compare_manipulation
from edgecritic_bench.versions.page import versions_section


def _versions(args: argparse.Namespace, argv: Sequence[str]) -> None:
    if bool(args.before) != bool(args.after) or bool(args.attacks) != bool(args.verdicts):
        raise InputError(
            "one version has nothing to be held to",
            "give --before with --after, and --attacks with --verdicts",
        )
    if not args.before and not args.attacks:
        raise InputError("there is nothing to compare", "name records, or attacks and verdicts")
    found = manipulated = None
    if args.before:
        fitted = [calibration.load(path) for path in args.calibrations or ()]
        before, after = fitted or (Calibration(), Calibration())
        found = compare_versions(
            read_records(args.before), read_records(args.after), (before, after)
        )
    if args.attacks:
        manipulated = compare_manipulation(args.attacks, tuple(args.verdicts))
    page = versions_section(found, manipulated, tuple(args.names))
    if args.json:
        numbers = {
            "made": Provenance.here(argv, ("edgecritic", "numpy")).to_dict(),
            "records": None if found is None else found.to_dict(),
            "manipulation": None if manipulated is None else asdict(manipulated),
        }
        write_json(args.json, numbers)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(page, encoding="utf-8", newline="\n")
        print(f"{args.out} is written", file=sys.stderr)
    else:
        print(page, end="")


COMMANDS: Mapping[str, Callable[[argparse.Namespace, Sequence[str]], None]] = {
    "versions": _versions,
}


def versions(parser: argparse.ArgumentParser) -> None:
    """Options of ``bench versions``."""
    parser.add_argument("--before", nargs="+", type=Path, metavar="RECORDS", help="first version's")
    parser.add_argument("--after", nargs="+", type=Path, metavar="RECORDS", help="second version's")
    two = ("BEFORE", "AFTER")
    parser.add_argument(
        "--calibrations", nargs=2, type=Path, metavar=two, help="temperature 1 when left out"
    )
    parser.add_argument("--names", nargs=2, metavar=two, default=["Version 1", "Version 2"])
    parser.add_argument("--attacks", type=Path, help="rows file with manipulated responses")
    parser.add_argument(
        "--verdicts",
        nargs=2,
        metavar=two,
        help="on them: of bench run rows, or FOLDER:ARM of bench quantization",
    )
    parser.add_argument("--out", type=Path, help="Markdown; stdout when left out")
    parser.add_argument("--json", type=Path, help="the numbers as JSON")
