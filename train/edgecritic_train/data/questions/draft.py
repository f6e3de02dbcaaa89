"""What a question type hands over: pictures, question and the material for responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from edgecritic_train.data.dice import chance, pick
from edgecritic_train.data.reasons import capitalised
from edgecritic_train.data.responses import Answer, Graded
from edgecritic_train.data.setting import Setting


@dataclass(frozen=True, slots=True)
class Draft:
    """A twin item before its responses are chosen.

    Attributes:
        images: image A and image B, RGB.
        question: for both images.
        answers: the truth of A and of B, with parallel clauses.
        labels: facts of A and of B for vision pretraining.
        extra: responses that only this question type has, such as partly right ones.
        values: whether the common surface forms are made from `answers`.
    """

    images: tuple[Image.Image, Image.Image]
    question: str
    answers: tuple[Answer, Answer]
    labels: tuple[Mapping[str, str], Mapping[str, str]]
    extra: tuple[Graded, ...] = ()
    values: bool = True


Builder = Callable[[Setting], Draft]


def answer(value: str, clauses: Sequence[str], said: str = "", **slots: str) -> Answer:
    """An answer from clause templates with the slot {v} and any others.

    Args:
        value: the bare value.
        clauses: templates, the first states the fact.
        said: what a response claiming it says; the value if not given.
        slots: further slots of the templates.
    """
    filled = tuple(clause.format(v=value, **slots) for clause in clauses)
    return Answer(value, filled, said or value)


def with_choice(setting: Setting, question: str, one: str, two: str, share: float = 0.2) -> str:
    """The question, or sometimes one that offers both values in random order."""
    if setting.split == "T4" or not chance(setting.rng, share):
        return question
    first, second = (one, two) if chance(setting.rng, 0.5) else (two, one)
    return pick(
        setting.rng,
        (
            f"{question} {capitalised(first)} or {second}?",
            f"{question} Choose between {first} and {second}.",
        ),
    )


def two_of(setting: Setting, options: Sequence[str]) -> tuple[str, str]:
    """Two different options."""
    first = pick(setting.rng, options)
    second = pick(setting.rng, options)
    while second == first:
        second = pick(setting.rng, options)
    return first, second
