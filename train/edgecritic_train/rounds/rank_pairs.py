"""``edgecritic train rank-pairs``: best and worst of given answers, for other trainers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecritic.errors import InputError
from edgecritic_train.critic_data.building.teachers import PictureHashes
from edgecritic_train.critic_data.options import above_zero, add_columns, column_map
from edgecritic_train.critic_data.pictures import PictureStore
from edgecritic_train.critic_data.rows import CriticRow, read_rows, write_rows
from edgecritic_train.critic_data.sources.cases import Case, TableOptions, read_cases
from edgecritic_train.critic_data.sources.intake import Intake
from edgecritic_train.critic_data.writing import alone, write_json
from edgecritic_train.rounds.config import JudgeSettings, SelectionSettings
from edgecritic_train.rounds.entries import Sample
from edgecritic_train.rounds.formats import FORMATS, write_format
from edgecritic_train.rounds.judges import OpenJudge, open_judge
from edgecritic_train.rounds.judging import chair, rank_all
from edgecritic_train.rounds.questions import Question
from edgecritic_train.rounds.report import choice_facts
from edgecritic_train.rounds.selecting import pair_rows, select


@dataclass(frozen=True, slots=True)
class Ranking:
    """What is ranked, and how.

    Attributes:
        tables: JSONL, CSV or Parquet with questions and two or more answers to each.
        columns: our name of a column to the tables'.
        out: folder.
        judge: who ranks.
        selection: filters; lengths are counted in words here.
        limit: take so many questions; None for all.
    """

    tables: tuple[Path, ...]
    columns: dict[str, str]
    out: Path
    judge: JudgeSettings
    selection: SelectionSettings
    limit: int | None = None


def rank_tables(asked: Ranking, open_judge: OpenJudge = open_judge) -> list[CriticRow]:
    """Rank the answers of tables; the pairs as rows. Stopped, it goes on where it was.

    Raises:
        CriticError: a table, a picture or the judge cannot be used, or the disk is full.
    """
    with alone(asked.out, _say):
        return _ranked(asked, open_judge)


def _ranked(asked: Ranking, open_judge: OpenJudge) -> list[CriticRow]:
    questions, samples = _read(asked)
    with chair(asked.judge, open_judge) as seat:
        ranked = rank_all(seat, questions, samples, asked.out / "rankings.jsonl", _say)
    choices = select(ranked, asked.selection, asked.out / "choices.jsonl")
    names = sorted({entry.judge for entry in ranked if entry.matches})
    by_id = {question.id: question for question in questions}
    rows = pair_rows(choices, by_id, ", ".join(names))
    write_rows(asked.out / "rows.jsonl", rows)
    facts = choice_facts(choices, by_id)
    write_json(asked.out / "pairs.json", facts)
    for name, count in facts["dropped"].items():
        if count:
            _say(f"{count:>9,}  questions left out: {name}")
    return rows


def _read(asked: Ranking) -> tuple[list[Question], dict[str, list[Sample]]]:
    hashes, store = PictureHashes(), PictureStore(asked.out / "images")
    questions: dict[str, Question] = {}
    samples: dict[str, list[Sample]] = {}
    for table in asked.tables:
        for case in read_cases(table, TableOptions(asked.columns), store, Intake(strict=True)):
            if case.id in questions:
                raise InputError(
                    f"{table}: the id {case.id} came before", "give every question its own"
                )
            questions[case.id] = _question(case, hashes)
            # What was given is whole; its length is counted in words.
            samples[case.id] = [
                Sample("", case.id, "", text, len(text.split()) + 1, ended=True)
                for text in case.responses
            ]
            if len(questions) == asked.limit:
                return list(questions.values()), samples
    return list(questions.values()), samples


def _question(case: Case, hashes: PictureHashes) -> Question:
    pictures = tuple(hashes.of(ref) for ref in case.images)
    group = case.group or case.id
    return Question(
        case.id, case.question, case.images, pictures, case.reference, group, case.split
    )


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns 0, or 1 where no pair is left."""
    args = _parser().parse_args(argv)
    if args.rows:
        found = [row for path in args.tables for row in read_rows(path)]
        rows = [row for row in found if row.verdict in ("first", "second")]
    else:
        rows = rank_tables(_asked(args))
    for name in args.format or FORMATS:
        sys.stdout.write(f"{write_format(name, rows, args.out)}\n")
    _say(f"{len(rows)} pairs")
    return 0 if rows else 1


def _asked(args: argparse.Namespace) -> Ranking:
    judge = JudgeSettings(
        args.bundle,
        args.backend,
        args.device,
        endpoint=args.endpoint,
        model=args.model,
        allow_http=args.allow_http,
        timeout=args.timeout,
    )
    selection = SelectionSettings(
        reward=args.reward,
        margin=args.margin,
        cycles=not args.keep_cycles,
        length_ratio=args.length_ratio,
        longer_share=args.longer_share,
    )
    return Ranking(tuple(args.tables), column_map(args), args.out, judge, selection, args.limit)


def _parser() -> argparse.ArgumentParser:
    plain = SelectionSettings()
    parser = argparse.ArgumentParser(
        prog="edgecritic train rank-pairs",
        description="Has a critic rank the answers of tables, and writes best against worst in the "
        "formats of TRL and LLaMA-Factory. Stopped at any time, it goes on where it was.",
    )
    parser.add_argument("tables", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--format", action="append", choices=FORMATS, help="both if left out")
    parser.add_argument(
        "--rows",
        action="store_true",
        help="the files are rows with winners, such as a round's rows.jsonl: nothing is judged",
    )
    parser.add_argument("--limit", type=above_zero, help="take this many questions")
    add_columns(parser)
    judge = parser.add_argument_group("judge (the embedded critic if left out)")
    judge.add_argument(
        "--bundle", type=Path, metavar="NAME", help="its folder, or the name it was pulled by"
    )
    judge.add_argument("--backend", default="auto", help="engine of the bundle")
    judge.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    judge.add_argument("--endpoint", metavar="URL", help="any OpenAI-compatible API")
    judge.add_argument("--model", metavar="NAME", help="its name at the endpoint")
    judge.add_argument("--allow-http", action="store_true", help="plain http to other machines")
    judge.add_argument("--timeout", type=float, default=120.0, help="seconds")
    chosen = parser.add_argument_group("which pairs are kept")
    chosen.add_argument("--reward", choices=("wins", "probabilities"), default=plain.reward)
    chosen.add_argument("--margin", type=float, default=plain.margin)
    chosen.add_argument("--keep-cycles", action="store_true")
    chosen.add_argument("--length-ratio", type=float, default=plain.length_ratio)
    chosen.add_argument("--longer-share", type=float, default=plain.longer_share)
    return parser
