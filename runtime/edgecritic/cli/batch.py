"""``batch``: all rows of a table."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgecritic.cli import options
from edgecritic.cli.console import Console
from edgecritic.cli.inputs import Inputs
from edgecritic.cli.interrupts import raise_if_cancelled
from edgecritic.cli.judge import loaded
from edgecritic.errors import InputError

if TYPE_CHECKING:
    from edgecritic.batch import BatchOptions, Tally
    from edgecritic.critic import Critic

DONE, FAILED = 0, 1
TABLE_HELP: Final = (
    "A row has 'question' and either 'response', which is scored, or 'first' and 'second', of "
    "which the better one is told; 'image', 'reference', 'rubric' and 'id' if it likes. The same "
    "command goes on with a file of results. Exit status 1: some rows could not be judged."
)
_SHOWN_FAULTS: Final = 5


def add_batch(parser: argparse.ArgumentParser) -> None:
    """Options of ``batch``."""
    parser.add_argument("table", metavar="TABLE", help="JSON Lines, CSV, TSV or Parquet")
    parser.add_argument("--out", metavar="FILE", help="results, one line of JSON for each row")
    parser.add_argument(
        "--check", action="store_true", help="only look for rows that cannot be judged"
    )
    parser.add_argument("--json", action="store_true", help="the summary as one line of JSON")
    prompt = options.add_prompt_options(parser)
    prompt.add_argument("--rationale", action="store_true", help="also say why: much slower")
    prompt.add_argument(
        "--rubric", metavar="RUBRIC", help="for rows without one, as for score; default: critic's"
    )
    prompt.add_argument(
        "--orders",
        choices=("both", "given", "swapped"),
        default="both",
        help="how to show two responses; default: both",
        metavar="ORDERS",
    )
    options.add_engine_options(parser)


@dataclass(frozen=True, slots=True)
class _Survey:
    """What a table holds.

    Attributes:
        rows: all of them.
        faults: how many cannot be judged.
        first: the first few reasons.
    """

    rows: int
    faults: int
    first: tuple[str, ...]


def batch(args: argparse.Namespace, console: Console) -> int:
    """Judge the rows that were not judged yet; the table is read before the critic is loaded."""
    from edgecritic.batch import BatchOptions, Results, judge_rows, read_rows

    table = Path(args.table)
    how = BatchOptions(
        rationale=args.rationale,
        orders=args.orders,
        rubric=None if args.rubric is None else Inputs().rubric(args.rubric),
        wording=args.wording,
        temperature=args.temperature,
        seed=args.seed,
    )
    out = _out(args, table)
    with console.busy(f"reading {table}"):
        survey = _survey(table, how)
    _tell_survey(table, survey, console)
    if out is None:
        return FAILED if survey.faults else DONE
    if survey.faults == survey.rows:
        raise InputError(f"no row of {table} can be judged", "mend the rows that are named above")
    with loaded(args, console) as (critic, cancel):
        made_by = _made_by(critic, how, args)
        with Results.open(out, made_by) as results:
            if results.n_done:
                console.talk(f"going on: {results.n_done:,} rows are done")
            tally = results.tally
            with console.measured("judging", survey.rows, lambda: tally.rows, "rows"):
                judge_rows(critic, read_rows(table, how), results, cancel=cancel)
        raise_if_cancelled(cancel)
    _tell(tally, out, args.json, console)
    return FAILED if tally.failed else DONE


def _out(args: argparse.Namespace, table: Path) -> Path | None:
    """Where results go; None where only a check is asked for."""
    if args.check:
        return None
    if args.out is None:
        raise InputError("--out is missing", "name a file for the results, such as out.jsonl")
    out = Path(args.out)
    if out.resolve() == table.resolve():
        raise InputError(f"--out is the table itself: {out}", "name another file for the results")
    return out


def _survey(table: Path, how: BatchOptions) -> _Survey:
    from edgecritic.batch import read_rows

    rows = faults = 0
    first: list[str] = []
    for row in read_rows(table, how):
        rows += 1
        if isinstance(row.asked, InputError):
            faults += 1
            if len(first) < _SHOWN_FAULTS:
                first.append(row.asked.message)
    if not rows:
        raise InputError(f"{table} holds no rows", "write one judgement a line")
    return _Survey(rows, faults, tuple(first))


def _tell_survey(table: Path, survey: _Survey, console: Console) -> None:
    bad = f", of which {survey.faults:,} cannot be judged" if survey.faults else ""
    console.talk(f"{table}: {survey.rows:,} rows{bad}")
    for message in survey.first:
        console.talk(f"  {message}")
    if survey.faults > len(survey.first):
        console.talk(f"  and {survey.faults - len(survey.first):,} more")


def _made_by(critic: Critic, how: BatchOptions, args: argparse.Namespace) -> dict[str, object]:
    """All that a judgement depends on, beside its row."""
    dialect = critic.profile.dialect
    return {
        "critic": critic.profile.name,
        "engine": f"{critic.info.engine} on {critic.info.device}",
        "template": f"{dialect.name}/{dialect.digest[:16]}",
        "max_tiles": args.max_tiles,
        "max_image_tokens": args.max_image_tokens,
        **how.to_dict(),
    }


def _tell(tally: Tally, out: Path, as_json: bool, console: Console) -> None:
    if as_json:
        console.json(
            {
                "rows": tally.rows,
                "judged": tally.judged,
                "unparsed": tally.unparsed,
                "failed": tally.failed,
                "kept": tally.kept,
                "out": str(out),
            }
        )
        return
    told = [f"{tally.judged:,} rows judged"]
    if tally.unparsed:
        told.append(f"{tally.unparsed:,} of them unparsed")
    if tally.kept:
        told.append(f"{tally.kept:,} done before")
    if tally.failed:
        told.append(f"{tally.failed:,} failed")
    console.talk(f"{', '.join(told)}: {out}")
