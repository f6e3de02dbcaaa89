"""``edgecritic train data build``: image-question-response tables to judged rows."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from edgecritic.backends.options import Device
from edgecritic.bundle import MANIFEST
from edgecritic.critic import Critic
from edgecritic.errors import CriticError, InputError
from edgecritic.hashing import file_sha256
from edgecritic.hub import find_bundle
from edgecritic.prompts import load_dialect
from edgecritic.remote import RemoteOptions
from edgecritic.task import Rubric
from edgecritic_train.critic_data.building.assemble import assemble
from edgecritic_train.critic_data.building.estimate import Estimate, Prices
from edgecritic_train.critic_data.building.ledger import Ledger
from edgecritic_train.critic_data.building.pace import Pace
from edgecritic_train.critic_data.building.plan import Ask, PlanOptions, plan_case
from edgecritic_train.critic_data.building.run import Spent, Work, ask_all
from edgecritic_train.critic_data.building.teachers import (
    CriticTeacher,
    Explainer,
    PictureHashes,
    Teacher,
    ask_key,
)
from edgecritic_train.critic_data.options import (
    above_zero,
    add_columns,
    add_splits,
    column_map,
    from_zero,
    shares_of,
)
from edgecritic_train.critic_data.pictures import PictureStore
from edgecritic_train.critic_data.rows import write_rows
from edgecritic_train.critic_data.sources.cases import Case, TableOptions, read_cases
from edgecritic_train.critic_data.sources.intake import Intake
from edgecritic_train.critic_data.sources.judged import JudgedOptions
from edgecritic_train.critic_data.splitting import held_out
from edgecritic_train.critic_data.templates import DIALECT
from edgecritic_train.critic_data.writing import alone, write_json

_TALK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Questions:
    """All asks of the tables, planned anew whenever they are gone through."""

    args: argparse.Namespace
    options: PlanOptions
    teacher: Teacher
    pictures: PictureHashes

    def cases(self, intake: Intake) -> Iterator[Case]:
        store = PictureStore(self.args.out / "images")
        tables = TableOptions(column_map(self.args), self.args.name)
        every = (
            case for path in self.args.tables for case in read_cases(path, tables, store, intake)
        )
        return islice(every, self.args.limit)

    def asks(self, intake: Intake) -> Iterator[tuple[str, Ask]]:
        for case in self.cases(intake):
            try:
                asks = plan_case(case, self.options)
                keyed = [(ask_key(ask, self.teacher, self.pictures), ask) for ask in asks]
            except CriticError as error:
                intake.drop(case.source, "a case that cannot be asked", case.named, error)
                continue
            if not asks:
                intake.drop(case.source, "nothing to ask", case.named)
            yield from keyed


def main(argv: Sequence[str]) -> int:
    """Build rows; returns 0, or 1 if none could be built."""
    args = _parser().parse_args(argv)
    prices = Prices(args.price_in, args.price_out, args.image_tokens)
    pace = Pace(args.requests_per_minute)
    with closing(_teacher(args)) as teacher, alone(args.out, _say):
        questions = _Questions(args, _plan_options(args), teacher, PictureHashes())
        with Ledger(args.out / "ledger.jsonl", tuple(args.reuse)) as ledger:
            estimate = _estimated(questions, ledger, prices, args)
            _say("\n".join(estimate.lines(prices, args.requests_per_minute)))
            if args.estimate:
                return 0
            cost = prices.cost(estimate.prompt_tokens, estimate.output_tokens)
            if args.max_cost is not None and cost > args.max_cost:
                raise InputError(
                    f"the estimate is {cost:.2f}, above --max-cost {args.max_cost:g}",
                    "raise it, or ask less: --limit, --max-pairs, --max-scores, --orders one",
                )
            talk = _progress(estimate.asks - estimate.answered)
            work = Work(teacher, ledger, pace, args.parallel, prices, args.max_cost, talk)
            spent = ask_all(questions.asks(Intake(quiet=True)), work)
            return _written(questions, ledger, estimate, spent, prices)


def _estimated(
    questions: _Questions, ledger: Ledger, prices: Prices, args: argparse.Namespace
) -> Estimate:
    """Go through all asks once, which also finds bad records before anything is sent."""
    dialect, estimate = load_dialect(DIALECT), Estimate()
    cases: set[str] = set()
    known: set[str] = set()
    for key, ask in questions.asks(Intake(strict=not args.drop_bad)):
        cases.add(f"{ask.case.source} {ask.case.id}")
        estimate.asks += 1
        if key in known or ledger.get(key) is not None:
            estimate.answered += 1
        else:
            estimate.add(ask, dialect, questions.teacher.requests, prices)
        known.add(key)
    estimate.cases = len(cases)
    return estimate


def _written(
    questions: _Questions, ledger: Ledger, estimate: Estimate, spent: Spent, prices: Prices
) -> int:
    args, dropped, intake = questions.args, Counter[str](), Intake(quiet=True)
    judge = "" if args.known else questions.teacher.name
    made = assemble(questions.asks(intake), ledger, judge, dropped)
    rows = held_out(intake.take(made), shares_of(args))
    count = write_rows(args.out / "rows.jsonl", rows)
    report = {
        "rows": count,
        "teacher": questions.teacher.name,
        "dialect": load_dialect(DIALECT).identity,
        "plan": _plan_facts(questions.options),
        "known_verdicts": args.known,
        "tables": {str(path): file_sha256(path) for path in args.tables},
        "estimated": asdict(estimate),
        "spent": asdict(spent),
        "cost": round(prices.cost(spent.prompt_tokens, spent.output_tokens), 4)
        if prices.known
        else None,
        "judgements_dropped": dict(sorted(dropped.items())),
        **intake.to_dict(),
    }
    write_json(args.out / "build.json", report)
    for why, number in sorted(dropped.items()):
        _say(f"{number:>9,}  judgements left out: {why}")
    _say("\n".join(intake.lines()))
    sys.stdout.write(f"{args.out / 'rows.jsonl'}\n")
    return 0 if count else 1


def _plan_facts(options: PlanOptions) -> dict[str, object]:
    return {
        "settings": list(options.settings),
        "orders": options.orders,
        "max_scores": options.max_scores,
        "max_pairs": options.max_pairs,
        "seed": options.seed,
    }


def _progress(total: int) -> Callable[[Spent], None]:
    started = last = time.monotonic()

    def talk(spent: Spent) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _TALK_SECONDS and spent.answers < total:
            return
        last = now
        left = (now - started) / spent.answers * (total - spent.answers)
        _say(
            f"{spent.answers:,}/{total:,} answers, {spent.unparsed:,} unparsed, "
            f"{spent.refused:,} refused, about {left / 60:.0f} min left"
        )

    return talk


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _plan_options(args: argparse.Namespace) -> PlanOptions:
    known = None
    if args.known:
        rubric = replace(Rubric.parse(args.range), criteria=args.criteria)
        known = JudgedOptions(rubric, args.pairs_from_scores, args.seed)
    settings = tuple(dict.fromkeys(args.setting or ("pointwise", "pairwise")))
    return PlanOptions(settings, args.orders, args.max_scores, args.max_pairs, known, args.seed)


def _teacher(args: argparse.Namespace) -> Teacher:
    if args.bundle is not None:
        return _bundle_teacher(args.bundle, args.backend, args.device, args)
    if args.endpoint is None or args.model is None:
        raise InputError(
            "there is no teacher", "name --endpoint URL and --model NAME, or --bundle FOLDER"
        )
    # Each judgement makes its requests one after the other; `parallel` counts judgements.
    options = RemoteOptions(
        prefill=args.prefill, allow_http=args.allow_http, timeout=args.timeout, parallel=1
    )
    tokens = args.max_reason_tokens
    if args.known:
        return Explainer(args.endpoint, args.model, load_dialect(DIALECT), options, tokens)
    critic = Critic.remote(args.endpoint, args.model, options=options, dialect=DIALECT)
    identity = f"{critic.profile.name} {critic.profile.dialect.identity} {tokens} {args.prefill}"
    return CriticTeacher(critic, identity, tokens)


def _bundle_teacher(
    folder: Path, backend: str, device: Device, args: argparse.Namespace
) -> CriticTeacher:
    if args.known:
        raise InputError(
            "a bundle judges for itself, and --known asks for reasons alone",
            "name --endpoint URL and --model NAME for the reasons",
        )
    bundle = find_bundle(folder)
    manifest = file_sha256(bundle.folder / MANIFEST)
    critic = Critic.load(bundle, backend=backend, device=device)
    identity = f"{bundle.name} {manifest} {critic.info.name} {args.max_reason_tokens}"
    return CriticTeacher(critic, identity, args.max_reason_tokens, requests=1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgecritic train data build",
        description="Has a teacher judge the responses of tables (JSONL, CSV, Parquet). "
        "Stopped at any time, the same command goes on where it was.",
    )
    parser.add_argument("tables", type=Path, nargs="+", metavar="FILE")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for rows.jsonl, ledger.jsonl, build.json"
    )
    parser.add_argument("--name", default="", help="source of rows that name none")
    parser.add_argument("--limit", type=above_zero, help="take this many cases")
    parser.add_argument("--seed", type=int, default=0, help="of templates, pairs and splits")
    parser.add_argument("--drop-bad", action="store_true", help="drop and count records that fail")
    add_columns(parser)
    add_splits(parser)
    _add_teacher(parser.add_argument_group("teacher"))
    _add_plan(parser.add_argument_group("what is asked"))
    _add_cost(parser.add_argument_group("cost"))
    return parser


def _add_teacher(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--endpoint", metavar="URL", help="any OpenAI-compatible API")
    group.add_argument("--model", metavar="NAME", help="its name at the endpoint")
    group.add_argument(
        "--bundle",
        type=Path,
        metavar="NAME",
        help="a critic judges: its folder, or the name it was pulled by",
    )
    group.add_argument("--backend", default="auto", help="engine of the bundle")
    group.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    group.add_argument(
        "--known",
        action="store_true",
        help="the table holds scores or winners; ask the endpoint for their reasons alone",
    )
    group.add_argument("--range", default="1-10", help="of the known scores, such as 0-100")
    group.add_argument("--criteria", help="by what the known verdicts were given, in words")
    group.add_argument("--pairs-from-scores", type=float, metavar="MARGIN")
    group.add_argument("--prefill", choices=("auto", "always", "never"), default="auto")
    group.add_argument("--allow-http", action="store_true", help="plain http to other machines")
    group.add_argument("--timeout", type=float, default=120.0, help="seconds")
    group.add_argument(
        "--parallel", type=above_zero, default=4, help="judgements under way at once"
    )


def _add_plan(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--setting", action="append", choices=("pointwise", "pairwise"))
    group.add_argument("--orders", choices=("both", "one"), default="both")
    group.add_argument("--max-scores", type=int, default=4, help="scores a case")
    group.add_argument("--max-pairs", type=int, default=3, help="pairs a case")
    group.add_argument("--max-reason-tokens", type=above_zero, default=256)


def _add_cost(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--estimate", action="store_true", help="say what it would cost, and stop")
    group.add_argument("--price-in", type=from_zero, default=0.0, help="per million tokens read")
    group.add_argument(
        "--price-out", type=from_zero, default=0.0, help="per million tokens written"
    )
    group.add_argument("--image-tokens", type=int, default=1000, help="that a picture counts")
    group.add_argument("--max-cost", type=from_zero, help="never spend more than this")
    group.add_argument("--requests-per-minute", type=float, help="at most")
    group.add_argument(
        "--reuse",
        type=Path,
        action="append",
        default=[],
        metavar="LEDGER",
        help="take answers from the ledger of another build, too",
    )
