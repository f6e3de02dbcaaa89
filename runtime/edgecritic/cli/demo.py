"""``demo``: the critic at work on the pictures that come with edgecritic."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgecritic.cli import cards, options
from edgecritic.cli.console import Console
from edgecritic.cli.judge import complete, loaded, show
from edgecritic.demo import DemoCase, demo_cases
from edgecritic.verdict import Preference, Verdict

if TYPE_CHECKING:
    from edgecritic.backends.base import CancelToken
    from edgecritic.critic import Critic

_ABOUT_LLAMACPP = """\
This critic ran on ONNX Runtime. llama.cpp runs GGUF critics of any size and quant type, on GPUs,
too, and judges many answers in one batch. To add it (it is compiled: a C++ compiler is needed):
  pip install 'edgecritic[llama]', or in a checkout: make llama"""


def add_demo(parser: argparse.ArgumentParser) -> None:
    """Options of ``demo``."""
    options.add_output_options(parser, rationale=False)
    options.add_engine_options(parser)


def demo(args: argparse.Namespace, console: Console) -> int:
    """Judge every case pointwise and pairwise, and say how often the critic was right."""
    cases = demo_cases()
    scored = preferred = 0
    with loaded(args, console) as (critic, cancel):
        for case in cases:
            made = (_as_json if args.json else _as_card)(case, critic, cancel, console)
            verdicts, preference = made
            scored += _scored_right(case, verdicts)
            preferred += preference.winner == _expected(case)
    if not args.json:
        console.line(cards.heading("summary", console.style))
        told = (
            f"The right answer got the higher score in {scored} of {len(cases)} cases "
            f"and was preferred in {preferred} of {len(cases)}."
        )
        console.line(cards.field("right", told, console.style))
        if critic.info.name == "onnx" and not _has_llamacpp():
            console.talk(_ABOUT_LLAMACPP)
    return 0


def _has_llamacpp() -> bool:
    from edgecritic.backends import ENGINES  # loads numpy, which help texts do not wait for

    return ENGINES["llamacpp"].is_installed


def _as_card(
    case: DemoCase, critic: Critic, cancel: CancelToken, console: Console
) -> tuple[list[Verdict], Preference]:
    style = console.style
    console.line(cards.heading(case.title, style))
    console.line("\n".join(cards.task_lines([_shown(case.image)], case.question, {}, style)))
    verdicts = []
    for index, response in enumerate(case.responses):
        console.line()
        if index == case.right:
            told = cards.field("response", f"{response} (the right answer)", style, "green")
        else:
            told = cards.field("response", f"{response} (the wrong answer)", style, "red")
        console.line(told)
        steps = critic.score_stream(case.image, case.question, response, cancel=cancel)
        verdicts.append(show(steps, cards.verdict_head, console))
    console.line()
    for label, response in zip(("first", "second"), case.responses, strict=True):
        console.line(cards.field(label, response, style))
    comparison = critic.compare_stream(case.image, case.question, *case.responses, cancel=cancel)
    preference = show(comparison, cards.preference_head, console)
    console.line()
    return verdicts, preference


def _shown(image: Path) -> str:
    """The picture's path, as one would type it here."""
    here = Path.cwd()
    return str(image.relative_to(here) if image.is_relative_to(here) else image)


def _as_json(
    case: DemoCase, critic: Critic, cancel: CancelToken, console: Console
) -> tuple[list[Verdict], Preference]:
    about = {"case": case.title, "image": str(case.image), "question": case.question}
    verdicts = []
    for index, response in enumerate(case.responses):
        steps = critic.score_stream(case.image, case.question, response, cancel=cancel)
        verdicts.append(complete(steps, console))
        console.json(
            about
            | {"setting": "pointwise", "responses": [response], "right": index == case.right}
            | {"verdict": verdicts[-1].to_dict()}
        )
    comparison = critic.compare_stream(case.image, case.question, *case.responses, cancel=cancel)
    preference = complete(comparison, console)
    console.json(
        about
        | {"setting": "pairwise", "responses": list(case.responses), "right": _expected(case)}
        | {"verdict": preference.to_dict()}
    )
    return verdicts, preference


def _scored_right(case: DemoCase, verdicts: list[Verdict]) -> bool:
    right, wrong = verdicts[case.right].score, verdicts[1 - case.right].score
    return right is not None and wrong is not None and right > wrong


def _expected(case: DemoCase) -> str:
    return ("first", "second")[case.right]
