"""``score``, ``compare`` and ``rank``."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from edgecritic.cli import cards, options
from edgecritic.cli.bundles import EMBEDDED
from edgecritic.cli.console import Console
from edgecritic.cli.inputs import Inputs
from edgecritic.cli.interrupts import cancelling, raise_if_cancelled
from edgecritic.cli.options import Request
from edgecritic.cli.terminal import Style, Wrapper
from edgecritic.errors import BackendUnavailableError, InputError
from edgecritic.verdict import Preference, Verdict

if TYPE_CHECKING:
    from edgecritic.backends.base import CancelToken
    from edgecritic.critic import Critic

Judged = TypeVar("Judged", Verdict, Preference)


def add_score(parser: argparse.ArgumentParser) -> None:
    """Options of ``score``."""
    options.add_task_options(parser, "repeat it to score several, each by itself")
    options.add_output_options(parser)
    options.add_prompt_options(parser)
    options.add_engine_options(parser)


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Options of ``compare``."""
    options.add_task_options(parser, "give two")
    options.add_output_options(parser)
    prompt = options.add_prompt_options(parser)
    prompt.add_argument(
        "--orders",
        choices=("both", "given", "swapped"),
        default="both",
        help="how to show the responses: both, given or swapped; default: both",
        metavar="ORDERS",
    )
    options.add_engine_options(parser)


def add_rank(parser: argparse.ArgumentParser) -> None:
    """Options of ``rank``."""
    options.add_task_options(parser, "give two or more")
    options.add_output_options(parser, rationale=False)
    prompt = options.add_prompt_options(parser, rationale=False)
    prompt.add_argument(
        "--method",
        choices=("pairwise", "adaptive", "pointwise"),
        default="pairwise",
        help="pairwise compares every pair, adaptive those that still can change the order, "
        "pointwise scores each; default: pairwise",
        metavar="METHOD",
    )
    options.add_engine_options(parser)


@contextmanager
def loaded(args: argparse.Namespace, console: Console) -> Iterator[tuple[Critic, CancelToken]]:
    """The critic that the options of `add_engine_options` name, closed at the end.

    Yields:
        It, and the token that Ctrl-C sets, for each of its judgements.

    Raises:
        ArtifactError: there is no such critic, or its files are not what they should be.
        BackendUnavailableError: nothing that could run it is installed.
        InputError: the options name two critics, or half of one.
    """
    # What Pillow says of odd metadata does not concern whoever asked for a judgement.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with cancelling() as cancel:
        with console.busy("loading the critic"):
            critic = _named(args)
        with critic:
            raise_if_cancelled(cancel)
            yield critic, cancel
            raise_if_cancelled(cancel)


def _named(args: argparse.Namespace) -> Critic:
    from edgecritic.critic import Critic

    if (args.remote is None) != (args.model is None):
        given, missing = ("--remote", "--model") if args.model is None else ("--model", "--remote")
        raise InputError(f"{given} is given without {missing}", "a remote critic takes both")
    if args.remote is None:
        return Critic.load(
            None if args.bundle in (None, EMBEDDED) else args.bundle,
            backend=args.backend,
            device=args.device,
            threads=args.threads,
            max_tiles=args.max_tiles,
            max_image_tokens=args.max_image_tokens,
            deterministic=args.deterministic,
            force=args.force,
        )
    local = (args.bundle, args.threads, args.max_tiles, args.max_image_tokens)
    if (
        any(option is not None for option in local)
        or args.deterministic
        or (args.backend, args.device) != ("auto", "auto")
    ):
        raise InputError(
            "--remote is given, and an option of a critic on this machine, too",
            "leave out --bundle, --backend, --device, --threads, --deterministic and the caps, "
            "or --remote",
        )
    return Critic.remote(args.remote, args.model)


def score(args: argparse.Namespace, console: Console) -> int:
    """Judge each response by itself."""
    request = Request.read(args, Inputs())
    with loaded(args, console) as (critic, cancel):
        for number, response in enumerate(request.responses, start=1):
            about = _introduction("score", request, {"response": response}, console.style)
            if number > 1:
                about = ["", *about]
            steps = critic.score_stream(
                request.images,
                request.question,
                response,
                reference=request.reference,
                rubric=request.rubric,
                rationale=args.rationale,
                wording=args.wording,
                cancel=cancel,
                temperature=args.temperature,
                seed=args.seed,
            )
            report(steps, cards.verdict_head, about, args.json, console)
    return 0


def compare(args: argparse.Namespace, console: Console) -> int:
    """Prefer one of two responses."""
    request = Request.read(args, Inputs())
    if len(request.responses) != 2:
        raise InputError(
            f"compare takes two responses, not {len(request.responses)}",
            "judge one with score, more than two with rank",
        )
    first, second = request.responses
    with loaded(args, console) as (critic, cancel):
        answers = {"first": first, "second": second}
        about = _introduction("compare", request, answers, console.style)
        steps = critic.compare_stream(
            request.images,
            request.question,
            first,
            second,
            orders=args.orders,
            reference=request.reference,
            rubric=request.rubric,
            rationale=args.rationale,
            wording=args.wording,
            cancel=cancel,
            temperature=args.temperature,
            seed=args.seed,
        )
        report(steps, cards.preference_head, about, args.json, console)
    return 0


def rank(args: argparse.Namespace, console: Console) -> int:
    """Put several responses into order."""
    request = Request.read(args, Inputs())
    if len(request.responses) < 2:
        raise InputError("rank takes two responses or more, not one", "judge one with score")
    waiting = f"judging {len(request.responses)} responses"
    with loaded(args, console) as (critic, cancel), console.busy(waiting):
        ranking = critic.rank(
            request.images,
            request.question,
            list(request.responses),
            method=args.method,
            reference=request.reference,
            rubric=request.rubric,
            wording=args.wording,
            cancel=cancel,
        )
    if args.json:
        console.json(ranking.to_dict())
    else:
        console.line("\n".join(_introduction("rank", request, {}, console.style)))
        console.line(cards.ranking_card(ranking, request.responses, console.style))
    return 0


def _introduction(
    title: str, request: Request, responses: dict[str, str], style: Style
) -> list[str]:
    """The top of a card: what is judged."""
    lines = cards.task_lines(request.image_names, request.question, responses, style)
    return [cards.heading(title, style), *lines]


def report(
    steps: Iterator[Judged | str],
    head: Callable[[Judged, Style], list[str]],
    introduction: Sequence[str],
    as_json: bool,
    console: Console,
) -> None:
    """Print a judgement: its JSON when it is complete, or a card while it is made."""
    if as_json:
        console.json(complete(steps, console).to_dict())
    else:
        show(steps, head, console, introduction)


def complete(steps: Iterator[Judged | str], console: Console) -> Judged:
    """The last judgement that a stream of the critic yields.

    Raises:
        BackendUnavailableError: the critic was closed before it had judged.
    """
    judged: Judged | None = None
    with console.busy("judging"):
        for step in _unless_cancelled(steps):
            judged = judged if isinstance(step, str) else step
    return _made(judged)


def show(
    steps: Iterator[Judged | str],
    head: Callable[[Judged, Style], list[str]],
    console: Console,
    introduction: Sequence[str] = (),
) -> Judged:
    """Print a card while a judgement is made, the reason word by word.

    Args:
        steps: what `Critic.score_stream` or `Critic.compare_stream` yields.
        head: the lines of the card that say the verdict.
        console: where to.
        introduction: lines above it, printed when it is clear that the judgement can be made.

    Returns:
        The complete judgement.

    Raises:
        BackendUnavailableError: the critic was closed before it had judged.
    """
    judged: Judged | None = None
    reason: Wrapper | None = None
    for number, step in enumerate(_waited_for(_unless_cancelled(steps), console)):
        if number == 0 and introduction:
            console.line("\n".join(introduction))
        if isinstance(step, str):
            if reason is None:
                reason = cards.reason_wrapper(console.style)
                console.write(cards.lead("reason", console.style))
            console.write(reason.feed(step))
            continue
        if judged is None:
            if reason is not None:  # this critic reasons first
                console.line(reason.finish())
                reason = None
            console.line("\n".join(head(step, console.style) + cards.caution(step, console.style)))
        judged = step
    if reason is not None:
        console.line(reason.finish())
    judged = _made(judged)
    console.line(cards.costs(judged.usage, judged.timings, judged.critic, console.style))
    return judged


def _made(judged: Judged | None) -> Judged:
    if judged is None:
        raise BackendUnavailableError("the critic was closed while it judged", "load it again")
    return judged


def _unless_cancelled(steps: Iterator[Judged | str]) -> Generator[Judged | str, None, None]:
    """The steps up to a judgement that was cancelled: here only Ctrl-C does that."""
    for step in steps:
        if not isinstance(step, str) and step.status == "cancelled":
            raise KeyboardInterrupt
        yield step


def _waited_for(
    steps: Iterator[Judged | str], console: Console
) -> Generator[Judged | str, None, None]:
    """The steps; until the first one is there, the terminal shows that something goes on."""
    with console.busy("judging"):
        first = next(steps, None)
    if first is not None:
        yield first
        yield from steps
