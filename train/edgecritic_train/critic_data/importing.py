"""``edgecritic train data import``: rows whose verdicts are known already."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from edgecritic.task import Rubric
from edgecritic_train.critic_data.options import (
    above_zero,
    add_columns,
    add_splits,
    column_map,
    shares_of,
)
from edgecritic_train.critic_data.pictures import PictureStore
from edgecritic_train.critic_data.rows import CriticRow, to_line, write_rows
from edgecritic_train.critic_data.sources.cases import TableOptions, read_cases
from edgecritic_train.critic_data.sources.intake import Intake
from edgecritic_train.critic_data.sources.judged import JudgedOptions, judged_rows
from edgecritic_train.critic_data.sources.llava_critic import (
    CONFIGS,
    find_tables,
    llava_critic_rows,
)
from edgecritic_train.critic_data.splitting import held_out
from edgecritic_train.critic_data.writing import replacing, write_json, writing


def main(argv: Sequence[str]) -> int:
    """Import rows; returns 0, or 1 if no row could be taken."""
    args = _parser().parse_args(argv)
    store = PictureStore(args.out / "images", at_once=False)
    intake = Intake(strict=args.source == "table" and not args.drop_bad)
    if args.source == "llava-critic":
        rows = _published(args, store, intake)
    elif args.source == "table":
        rows = _table(args, store, intake)
    else:
        rows = _engine(args, store, intake)
    rows = store.settled(held_out(islice(rows, args.limit), shares_of(args)))
    answers = args.out / "answers.jsonl"
    beside = args.source == "engine" and args.with_answers
    if beside:
        rows = without_answers(rows, answers)
    count = write_rows(args.out / "rows.jsonl", rows)
    report = {"rows": count, **intake.to_dict()}
    if beside:
        with answers.open("rb") as lines:
            report["answers"] = sum(1 for _ in lines)
    write_json(args.out / "import.json", report)
    sys.stderr.write("\n".join(intake.lines()) + "\n")
    sys.stdout.write(f"{args.out / 'rows.jsonl'}\n")
    return 0 if count else 1


def _published(
    args: argparse.Namespace, store: PictureStore, intake: Intake
) -> Iterator[CriticRow]:
    tables = find_tables(args.config or CONFIGS, args.folder, args.revision)
    return llava_critic_rows(tables, store, intake)


def _table(args: argparse.Namespace, store: PictureStore, intake: Intake) -> Iterator[CriticRow]:
    rubric = Rubric.parse(args.range)
    if args.criteria:
        rubric = replace(rubric, criteria=args.criteria)
    options = JudgedOptions(rubric, args.pairs_from_scores, args.seed)
    for path in args.tables:
        cases = read_cases(path, TableOptions(column_map(args), args.name), store, intake)
        yield from judged_rows(cases, options, intake)


def _engine(args: argparse.Namespace, store: PictureStore, intake: Intake) -> Iterator[CriticRow]:
    # The engine brings fonts, scenes and numpy, which the other sources do not need.
    from edgecritic_train.critic_data.sources.rendering import EngineOptions, engine_rows

    options = EngineOptions(
        assets=tuple(args.assets),
        split=args.split,
        seed=args.seed,
        items=args.items,
        kinds=args.kinds,
        answers="instead" if args.answers else "beside" if args.with_answers else "none",
        per_picture=args.per_picture,
    )
    return intake.take(engine_rows(options, store, args.workers))


def without_answers(rows: Iterable[CriticRow], path: Path) -> Iterator[CriticRow]:
    """The judgements among the data engine's rows; its right answers go to a file of their own.

    Raises:
        ArtifactError: the file cannot be written.
    """
    from edgecritic_train.critic_data.sources.engine import REFERENCE

    with replacing(path) as file:
        for row in rows:
            if row.judge != REFERENCE:
                yield row
                continue
            with writing(path):
                file.write(f"{to_line(row, path.parent)}\n".encode())


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--out", type=Path, required=True, help="folder for rows.jsonl, images/ and import.json"
    )
    common.add_argument("--limit", type=above_zero, help="stop after this many rows")
    common.add_argument("--seed", type=int, default=0, help="of wordings, orders and splits")
    add_splits(common)
    parser = argparse.ArgumentParser(
        prog="edgecritic train data import",
        description="Makes rows of judgements that exist already.",
    )
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")

    published = sources.add_parser(
        "llava-critic", parents=[common], help="the published 113k judgements of LLaVA-Critic"
    )
    published.add_argument("--config", action="append", choices=CONFIGS, help="both if left out")
    published.add_argument("--folder", type=Path, help="a copy of the repository on this machine")
    published.add_argument("--revision", help="on the hub")

    table = sources.add_parser(
        "table", parents=[common], help="JSONL, CSV or Parquet with scores or winners"
    )
    table.add_argument("tables", type=Path, nargs="+", metavar="FILE")
    table.add_argument("--range", default="1-10", help="of the scores, such as 0-100")
    table.add_argument("--criteria", help="by what the verdicts were given, in words")
    table.add_argument(
        "--pairs-from-scores",
        type=float,
        metavar="MARGIN",
        help="also compare responses whose scores differ by more than this, or not at all",
    )
    table.add_argument("--name", default="", help="source of rows that name none")
    table.add_argument("--drop-bad", action="store_true", help="drop and count records that fail")
    add_columns(table)

    engine = sources.add_parser(
        "engine", parents=[common], help="the data engine, truth by construction"
    )
    engine.add_argument("--assets", type=Path, nargs="+", required=True, help="asset packs (.zip)")
    engine.add_argument("--split", default="train", help="train, or T0 to T4")
    engine.add_argument("--items", type=above_zero, default=1000, help="twin items to generate")
    answers = engine.add_mutually_exclusive_group()
    answers.add_argument(
        "--answers",
        action="store_true",
        help="no judgements: the right answer for each picture, for a policy to learn or be asked",
    )
    answers.add_argument(
        "--with-answers",
        action="store_true",
        help="beside the judgements, in answers.jsonl: the right answer for each picture and a "
        "list of what it shows, for a critic to learn as well (data.answers)",
    )
    engine.add_argument("--kinds", nargs="+", help="only these question types")
    engine.add_argument(
        "--per-picture", type=above_zero, metavar="N", help="at most N judgements of a picture"
    )
    engine.add_argument("--workers", type=above_zero, default=1, help="processes that draw")
    return parser
