"""``edgecritic bench``: judge, calibrate, report, parity, speed, and public benchmarks.

stdout is data, stderr is talk, as in the runtime's own commands.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from edgecritic import Critic, CriticError, InputError
from edgecritic.hub import find_bundle
from edgecritic_bench import calibration
from edgecritic_bench.features import compare_features
from edgecritic_bench.judge import Plan, judge_sets, read_meta, uncorrected
from edgecritic_bench.numbers import write_json
from edgecritic_bench.options import build_parser
from edgecritic_bench.parity import compare
from edgecritic_bench.parity_page import parity_section
from edgecritic_bench.protocols import cli as protocols
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.quantization import cli as quantization
from edgecritic_bench.ranking import cli as ranking
from edgecritic_bench.recalibration import cli as recalibration
from edgecritic_bench.records import read_records
from edgecritic_bench.report import ReportOptions, build_report
from edgecritic_bench.robustness import cli as robustness
from edgecritic_bench.speed import cli as speed
from edgecritic_bench.versions import cli as versions

_TELL_EVERY = 50
_USAGE = 2


def main(argv: Sequence[str]) -> int:
    """Run a bench command.

    Args:
        argv: the arguments behind ``edgecritic bench``.

    Returns:
        The exit status; 2 where no command is named.

    Raises:
        CriticError: what went wrong; the runtime's command line turns it into text and a status.
        SystemExit: argparse refuses the arguments, or was asked for help.
    """
    parser = build_parser()
    if not argv:
        parser.print_help()
        return _USAGE
    args = parser.parse_args(argv)
    commands: dict[str, Callable[[argparse.Namespace, Sequence[str]], None]] = {
        "judge": _judge,
        "calibrate": _calibrate,
        "report": _report,
        "parity": _parity,
        "speed": speed.main,
        **protocols.COMMANDS,
        **robustness.COMMANDS,
        **ranking.COMMANDS,
        **quantization.COMMANDS,
        **versions.COMMANDS,
    }
    commands[args.command](args, argv)
    return 0


def run(argv: Sequence[str]) -> int:
    """`main` with errors as text: for ``python -m edgecritic_bench``."""
    try:
        return main(argv)
    except CriticError as error:
        _talk(f"edgecritic bench: error: {error}")
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        _talk("interrupted")
        return 130


def _judge(args: argparse.Namespace, argv: Sequence[str]) -> None:
    plan = Plan(tuple(args.settings), tuple(args.conditions), args.limit, args.shared)
    with Critic.load(uncorrected(find_bundle(args.bundle)), threads=args.threads) as critic:
        judged = 0
        for record in judge_sets(critic, args.sets, plan, args.out, Provenance.here(argv)):
            judged += 1
            if judged % _TELL_EVERY == 0:
                _talk(f"{judged} judgements, at {record.place.item}")
    _talk(f"{judged} new judgements in {args.out}")


def _calibrate(args: argparse.Namespace, argv: Sequence[str]) -> None:
    if args.bundle is not None:
        recalibration.calibrate(args, argv)
        return
    if not args.records:
        raise InputError("there is nothing to fit on", "name records, or --bundle and --data")
    digests = [calibration.file_digest(path) for path in args.records]
    fitted = calibration.fit(read_records(args.records), digests)
    calibration.save(fitted, args.out)
    print(json.dumps(asdict(fitted)))


def _report(args: argparse.Namespace, argv: Sequence[str]) -> None:
    packages = ("edgecritic", "numpy", "scipy", "matplotlib")
    options = ReportOptions(
        records=tuple(args.records),
        calibration=calibration.load(args.calibration),
        judged_by=args.judged_by,
        images=args.plots,
        page=args.out,
        parity=_text(args.parity) if args.parity else "",
        against=_text(args.against) if args.against else "",
    )
    report = build_report(options, Provenance.here(argv, packages))
    _write(args.out, report.page)
    _talk(f"{args.out} is written; the short table for a README:")
    print(report.readme, end="")


def _parity(args: argparse.Namespace, _: Sequence[str]) -> None:
    found = compare(read_records([args.reference]), read_records([args.other]))
    features = compare_features(*args.features) if args.features else None
    names = args.names or [_engine(path) for path in (args.reference, args.other)]
    page = parity_section(found, features, *names) + "\n"
    if args.json:
        numbers = {**found.to_dict(), "features": None if features is None else asdict(features)}
        write_json(args.json, numbers)
    if args.out:
        _write(args.out, page)
    else:
        print(page, end="")


def _engine(records: Path) -> str:
    meta = read_meta(records)
    return records.name if meta is None else f"{meta['critic']} run by {meta['engine']}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "check its name") from error


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _talk(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
