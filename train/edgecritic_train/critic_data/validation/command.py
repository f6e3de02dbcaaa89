"""``edgecritic train data validate``: a report, and status 1 if rows must not be trained on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgecritic.prompts import DEFAULT_DIALECT, load_dialect
from edgecritic_train.critic_data.options import above_zero
from edgecritic_train.critic_data.validation.check import CheckOptions, Report, check
from edgecritic_train.critic_data.validation.lengths import BaseTokens
from edgecritic_train.critic_data.writing import write_bytes, write_json
from edgecritic_train.tuning.base import find_base


def main(argv: Sequence[str]) -> int:
    """Validate rows; returns 0, or 1 if there are errors."""
    args = _parser().parse_args(argv)
    base = None
    if args.base is not None:
        folder = find_base(args.base, None, weights=False)
        base = BaseTokens.read(folder, args.max_image_tokens)
    options = CheckOptions(load_dialect(args.dialect), base, args.max_length, args.workers)
    report = check(args.files, options)
    text = "\n".join(lines(report))
    if args.out is not None:
        content = {
            "usable": report.usable,
            "findings": report.findings.to_dict(),
            "summary": report.summary,
        }
        write_json(args.out / "validation.json", content)
        write_bytes(args.out / "validation.md", f"{text}\n".encode())
    sys.stdout.write(text + "\n")
    return 0 if report.usable else 1


def lines(report: Report) -> Iterator[str]:
    """The report for people, in Markdown."""
    summary = report.summary
    yield "# Validation of critic rows"
    yield ""
    yield "Usable: " + ("yes." if report.usable else "**no**, see the errors.")
    yield ""
    for name in ("splits", "settings", "sources"):
        counts = ", ".join(f"{key or '(none)'} {value:,}" for key, value in summary[name].items())
        yield f"- {name}: {counts or 'none'}"
    repeats, balance = summary["repeats"], summary["balance"]
    yield f"- pictures: {summary['pictures']:,}, {repeats['distinct_pictures']:,} of them different"
    winners = ", ".join(f"{key} {value:,}" for key, value in balance["winners"].items())
    yield f"- winners of training pairs: {winners or 'none'}"
    longer = balance["longer_wins"]
    if longer["share"] is not None:
        yield f"- the longer response wins {longer['share']:.0%} of {longer['pairs']:,} pairs"
    if (tokens := summary["tokens"]) and tokens["rows"]:
        limit = f"; limit {tokens['limit']:,}" if tokens["limit"] else ""
        yield (
            f"- tokens with pictures: median {tokens['median']:,}, 95% below "
            f"{tokens['95%']:,}, longest {tokens['longest']:,}{limit}"
        )
    for kind, found in report.findings:
        yield ""
        yield f"## {kind.severity}: {kind.name} ({found.count:,})"
        yield ""
        yield f"{kind.text[0].upper()}{kind.text[1:]}. What mends it: {kind.cure}."
        yield ""
        yield from (f"- {example}" for example in found.examples)
        if found.count > len(found.examples):
            yield f"- and {found.count - len(found.examples):,} more"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgecritic train data validate",
        description="Finds what would spoil a training run. Status 1: there are errors.",
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="ROWS", help="checked together")
    parser.add_argument("--out", type=Path, help="folder for validation.json and validation.md")
    parser.add_argument("--dialect", default=DEFAULT_DIALECT, help="of the prompts")
    parser.add_argument(
        "--base",
        metavar="MODEL",
        help="base model to count tokens by: a folder, or owner/name on the hub",
    )
    parser.add_argument(
        "--max-length", type=above_zero, help="tokens that fit; the base's when left out"
    )
    parser.add_argument(
        "--max-image-tokens", type=above_zero, help="as images.max_tokens of the training"
    )
    parser.add_argument("--workers", type=above_zero, default=4, help="pictures decoded at once")
    return parser
