"""Options that several commands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

from edgecritic.cli.inputs import Inputs
from edgecritic.task import Rubric

TEXT_HELP = "Texts may be given as @FILE, or as - for stdin; @@ stands for a leading @."


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be judged, with every file read.

    Attributes:
        image_names: pictures as the user named them.
        images: their paths or contents.
        question: what was asked.
        responses: in the given order.
        reference: a right answer, or None.
        rubric: None for the critic's own.
    """

    image_names: tuple[str, ...]
    images: list[str | bytes] | None
    question: str
    responses: tuple[str, ...]
    reference: str | None
    rubric: Rubric | None

    @classmethod
    def read(cls, args: argparse.Namespace, inputs: Inputs) -> Request:
        """Read what the options of `add_task_options` name.

        Raises:
            InputError: a source cannot be read, or two of them are stdin.
        """
        return cls(
            image_names=tuple(args.image),
            images=[inputs.image(image) for image in args.image] or None,
            question=inputs.text(args.question, "--question"),
            responses=tuple(inputs.text(text, "--response") for text in args.response),
            reference=(
                None if args.reference is None else inputs.text(args.reference, "--reference")
            ),
            rubric=None if args.rubric is None else inputs.rubric(args.rubric),
        )


def add_task_options(parser: argparse.ArgumentParser, responses: str) -> None:
    """Add what names a judgement's parts; `responses` says how many there may be."""
    task = parser.add_argument_group("what to judge")
    task.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="FILE",
        help="picture that the question is about; repeat for several; - for stdin",
    )
    task.add_argument("--question", required=True, metavar="TEXT", help="what was asked")
    task.add_argument(
        "--response",
        action="append",
        required=True,
        metavar="TEXT",
        help=f"answer to judge; {responses}",
    )
    task.add_argument("--reference", metavar="TEXT", help="a right answer to compare with")
    task.add_argument(
        "--rubric",
        metavar="RUBRIC",
        help="scale such as 1-5, or JSON with low, high, criteria, levels; default: the critic's",
    )


def add_output_options(parser: argparse.ArgumentParser, rationale: bool = True) -> None:
    """Add what decides on the form of the results."""
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="JSON Lines instead of cards")
    if rationale:
        output.add_argument(
            "--no-rationale",
            dest="rationale",
            action="store_false",
            help="the verdict only: much faster",
        )


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add what decides on how the critic runs."""
    engine = parser.add_argument_group("critic")
    engine.add_argument(
        "--bundle",
        metavar="NAME",
        help="folder with a critic.json, or the name it was pulled by; default: the embedded one",
    )
    add_engine_choice(engine)
    engine.add_argument(
        "--max-tiles",
        type=at_least(1),
        metavar="N",
        help="most tiles of a picture: fewer are faster and show less; default: the critic's own",
    )
    engine.add_argument(
        "--max-image-tokens",
        type=at_least(1),
        metavar="N",
        help="the same for a critic that sees pictures at their own resolution",
    )
    engine.add_argument(
        "--deterministic",
        action="store_true",
        help="equal bits for equal requests, whatever else is judged: one at a time, up to eight "
        "times slower",
    )
    engine.add_argument(
        "--force", action="store_true", help="load even what cannot fit into the free memory"
    )
    engine.add_argument(
        "--remote",
        metavar="URL",
        help="ask a critic elsewhere, by OpenAI's protocol; needs --model; the key is read from "
        "EDGECRITIC_API_KEY",
    )
    engine.add_argument("--model", metavar="NAME", help="the remote critic's name there")


def add_engine_choice(group: argparse._ArgumentGroup) -> None:
    """Add what decides on which engine runs the critic, and where."""
    group.add_argument(
        "--backend", default="auto", metavar="NAME", help="auto, llamacpp, inferna, onnx or hf"
    )
    group.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        metavar="NAME",
        help="auto, cpu or gpu; default: auto",
    )
    group.add_argument(
        "--threads", type=at_least(1), metavar="N", help="CPU threads; default: the physical cores"
    )


def add_prompt_options(
    parser: argparse.ArgumentParser, rationale: bool = True
) -> argparse._ArgumentGroup:
    """Add what decides on the prompt's wording and on how the rationale is drawn."""
    prompt = parser.add_argument_group("prompt")
    prompt.add_argument(
        "--wording",
        type=at_least(0),
        default=0,
        metavar="N",
        help="which of the prompt's wordings; default: 0",
    )
    if rationale:
        prompt.add_argument(
            "--temperature",
            type=_temperature,
            default=0.0,
            metavar="T",
            help="randomness of the rationale's words; 0, the default, has none",
        )
        prompt.add_argument(
            "--seed", type=at_least(0), default=0, metavar="N", help="for --temperature above 0"
        )
    return prompt


def at_least(low: int) -> Callable[[str], int]:
    """Reads an option's value as a whole number that is not below `low`."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= {low}")
        return value

    return whole_number


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 10:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 10")
    return value
