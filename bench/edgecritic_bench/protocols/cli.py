"""The commands on public benchmarks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from edgecritic import Critic, InputError
from edgecritic.hub import find_bundle
from edgecritic_bench.numbers import write_json
from edgecritic_bench.protocols.hub import locate
from edgecritic_bench.protocols.importers import import_replies
from edgecritic_bench.protocols.judging import judge_rows
from edgecritic_bench.protocols.page import compared, score_page
from edgecritic_bench.protocols.registry import BENCHMARKS, benchmark
from edgecritic_bench.protocols.replies import read_replies, write_replies
from edgecritic_bench.protocols.rows import AnyRow
from edgecritic_bench.provenance import Provenance

_TELL_EVERY = 50


def _benchmarks(args: argparse.Namespace, _: Sequence[str]) -> None:
    for known in BENCHMARKS.values():
        if args.json:
            facts = {
                "name": known.name,
                "title": known.title,
                "source": known.source,
                "licence": known.licence,
                "protocols": known.protocols,
                "hub": known.hub.repo if known.hub else None,
            }
            print(json.dumps(facts))
        else:
            where = f"hub: {known.hub.repo}" if known.hub else "files"
            print(f"{known.name:24} {', '.join(known.protocols):44} {where}")


def _run(args: argparse.Namespace, argv: Sequence[str]) -> None:
    rows = _rows(args)[: args.limit]
    scored = benchmark(args.benchmark).scored
    bundle = find_bundle(args.bundle)
    with Critic.load(bundle, threads=args.threads) as critic:
        count = 0
        run = Provenance.here(argv)
        for count, reply in enumerate(judge_rows(critic, rows, args.out, run, scored=scored), 1):
            if count % _TELL_EVERY == 0:
                _talk(f"{count} verdicts, at {reply.key}")
    _talk(f"{count} new verdicts on {len(rows)} rows in {args.out}")


def _import(args: argparse.Namespace, _: Sequence[str]) -> None:
    replies = import_replies(args.format, _rows(args), args.verdicts)
    _talk(f"{write_replies(args.out, replies)} verdicts in {args.out}")


def _score(args: argparse.Namespace, _: Sequence[str]) -> None:
    known, rows = benchmark(args.benchmark), _rows(args)
    protocol = args.protocol or known.protocols[0]
    scores = {}
    for word in args.verdicts:
        name, _sign, file = word.rpartition("=")
        path = Path(file)
        scores[name or path.stem] = known.score(
            rows, read_replies(path), protocol, partial=args.partial
        )
    if len(scores) < len(args.verdicts):
        raise InputError("two judges have the same name", "name them: NAME=REPLIES")
    claims = compared(scores, args.margin / 100)
    page = score_page(known, scores, claims)
    if args.json:
        numbers = {name: asdict(replace(found, hits=())) for name, found in scores.items()}
        claimed = {name: asdict(claim) for name, claim in claims.items()}
        facts = {"benchmark": known.name, "scores": numbers, "against_the_first": claimed}
        write_json(args.json, facts)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(page, encoding="utf-8", newline="\n")
        _talk(f"{args.out} is written")
    else:
        print(page, end="")


def _rows(args: argparse.Namespace) -> Sequence[AnyRow]:
    known = benchmark(args.benchmark)
    data = locate(args.data, known.hub)
    rows = known.load(data.path)
    _talk(f"{known.title}: {len(rows)} rows from {data.origin}")
    return rows


def _talk(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


COMMANDS: Mapping[str, Callable[[argparse.Namespace, Sequence[str]], None]] = {
    "benchmarks": _benchmarks,
    "run": _run,
    "import": _import,
    "score": _score,
}
