"""``edgecritic bench calibrate --bundle``: corrections from labelled rows, into a new bundle."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgecritic import Bundle, Critic, InputError
from edgecritic.hub import find_bundle
from edgecritic_bench.checked import made, positive, share
from edgecritic_bench.judge import uncorrected
from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.quantization.journal import Judged, row_digest
from edgecritic_bench.quantization.rows import Sample, read_rows, sampled
from edgecritic_bench.recalibration.bundle import (
    enough,
    fit,
    judge_labelled,
    on_one_rubric,
    write_calibrated,
)
from edgecritic_bench.recalibration.page import before_and_after

_TELL_EVERY = 20
_ALL = 1 << 30
_MOST, _MOST_TEST = 100, 200


def calibrate(args: argparse.Namespace, _: Sequence[str]) -> None:
    """Judge labelled rows, fit, write the bundle, and show what it did to other rows."""
    if not args.data:
        raise InputError("there are no labelled rows", "name them with --data")
    bundle = find_bundle(args.bundle)
    rows = _rows(args.data, args.rows, args.seed)
    enough(rows)
    known = {row_digest(row) for row in rows}
    items = {row.item or row.key for row in rows}
    others = [
        row
        for row in (_rows(args.test, args.test_rows, args.seed) if args.test else ())
        if row_digest(row) not in known and (row.item or row.key) not in items
    ]
    if args.test and not others:
        raise InputError("every row of --test was fitted on", "name other rows")
    on_one_rubric(rows, others)
    made(args.out)
    judged = _judge(bundle, [*rows, *others], args)
    before = bundle.manifest.calibration
    fitted = fit(rows, judged, before, args.coverage)
    written = write_calibrated(bundle, fitted.calibration, args.out)
    kept = "none" if fitted.scores is None else ", ".join(fitted.scores.kept) or "none that helped"
    _talk(f"{written.folder} is written; corrections of scores: {kept}")
    print(json.dumps(fitted.calibration.to_dict()))
    if others:
        _talk(before_and_after(others, judged, before, fitted))


def _rows(data: Sequence[str], most: int, seed: int) -> list[PairRow | ScoreRow]:
    """So many rows of each setting, from as many items as there are.

    Rows of one item share a picture, so a hundred rows of ten items tell little more than ten.
    """
    every = Sample(tuple(data), pairs=_ALL, scores=_ALL, per_item=_ALL, attacks=0, seed=seed)
    rows = read_rows(every, Path()).sample
    wanted = replace(every, pairs=most, scores=most)
    enough_rows, per_item = len(list(sampled(rows, wanted))), 1
    while len(found := list(sampled(rows, replace(wanted, per_item=per_item)))) < enough_rows:
        per_item *= 2
    return found


def _judge(
    bundle: Bundle, rows: Sequence[PairRow | ScoreRow], args: argparse.Namespace
) -> dict[str, Judged]:
    counted = 0

    def tell(judged: int) -> None:
        nonlocal counted
        if (counted + judged) // _TELL_EVERY > counted // _TELL_EVERY:
            _talk(f"{counted + judged} of {len(rows)} rows judged")
        counted += judged

    with Critic.load(uncorrected(bundle), threads=args.threads) as critic:
        return dict(judge_labelled(critic, rows, args.out, tell))


def _talk(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def options(parser: argparse.ArgumentParser) -> None:
    """Options of ``bench calibrate`` for bundles."""
    bundle = parser.add_argument_group("a bundle, from labelled rows")
    bundle.add_argument("--bundle", help="folder with a critic.json, or embedded")
    bundle.add_argument("--data", nargs="+", help="labelled rows, as for bench quantization")
    bundle.add_argument("--rows", type=positive, default=_MOST, help="of each setting to fit on")
    bundle.add_argument("--test", nargs="+", help="other labelled rows, to show before and after")
    bundle.add_argument("--test-rows", type=positive, default=_MOST_TEST, help="of each setting")
    bundle.add_argument("--coverage", type=share, default=0.9, help="of intervals of scores")
    bundle.add_argument("--seed", type=int, default=0, help="of the rows that are drawn")
    bundle.add_argument("--threads", type=positive, help="the physical cores when left out")
