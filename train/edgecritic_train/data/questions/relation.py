"""Two things beside each other: where, which one, and which is larger."""

from __future__ import annotations

import numpy as np
from PIL import Image

from edgecritic_train.data.dice import chance, pick, spread
from edgecritic_train.data.questions.draft import Draft, answer
from edgecritic_train.data.responses import Answer
from edgecritic_train.data.scenes.layout import Place, Size, canvas_size, in_line
from edgecritic_train.data.scenes.things import Thing, compose, draw_things
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.wording import Wordings

POSITION = Wordings(
    seen=(
        "Where is the {one}, to the {near} or the {far} of the {two}?",
        "Is the {one} to the {near} or to the {far} of the {two}?",
        "Where is the {one}, seen from the {two}?",
        "On which side of the {two} is the {one}?",
    ),
    held_out=("Starting at the {two}, which way lies the {one}?",),
)
HEIGHT = Wordings(
    seen=(
        "Where is the {one}, {near} or {far} the {two}?",
        "Is the {one} {near} or {far} the {two}?",
        "Where is the {one}, seen from the {two}?",
    ),
    held_out=("Starting at the {two}, do I look up or down to find the {one}?",),
)
WHICH = Wordings(
    seen=(
        "What is {spot}?",
        "Which thing is {spot}?",
        "What can be seen {spot}?",
        "Which is {spot}, the {one} or the {two}?",
    ),
    held_out=("Name whatever occupies the place {spot}.",),
)
SIZE = Wordings(
    seen=(
        "Which is bigger, the {one} or the {two}?",
        "Which of the two is larger?",
        "What is larger, the {one} or the {two}?",
        "Which thing is the bigger one?",
    ),
    held_out=("Which of them takes up more room?", "Compare the two: who wins in size?"),
)
CHECK = Wordings(
    seen=(
        "Is the {one} {relation} the {two}?",
        "Is it true that the {one} is {relation} the {two}?",
    ),
    held_out=("Somebody claims the {one} is {relation} the {two}. Do you agree?",),
)


def build_position(setting: Setting) -> Draft:
    """Left, right, above or below, with the two things swapped on image B."""
    rng = setting.rng
    (one, two), images, across = _swapped(setting)
    relations = ("to the left of", "to the right of") if across else ("above", "below")
    if chance(rng, 0.3):
        answers, question = _checked(setting, one, two, relations)
    else:
        words = ("left", "right") if across else relations
        near, far = words if chance(rng, 0.5) else words[::-1]
        wordings = POSITION if across else HEIGHT
        question = wordings.ask(setting, one=one.name, two=two.name, near=near, far=far)
        clauses = ("the {one} {be} {relation} the {two}", "it is {relation} the {two}")
        shown = ("on the left", "on the right") if across else ("above", "below")
        answers = tuple(
            answer(
                short,
                clauses[:1] if one.is_are == "are" else clauses,
                said=short,
                one=one.name,
                two=two.name,
                be=one.is_are,
                relation=relation,
            )
            for short, relation in zip(shown, relations, strict=True)
        )
    return _draft(images, question, answers, (one, two))


def build_which(setting: Setting) -> Draft:
    """Which of two things is on a given side."""
    rng = setting.rng
    (one, two), images, across = _swapped(setting)
    spots = ("on the left", "on the right") if across else ("at the top", "at the bottom")
    index = int(chance(rng, 0.5))
    there = (one, two) if index == 0 else (two, one)
    first, second = (one, two) if chance(rng, 0.5) else (two, one)
    question = WHICH.ask(setting, spot=spots[index], one=first.name, two=second.name)
    clauses = ("the {v} {be} {spot}", "{spot} there {be} {phrase}")
    answers = tuple(
        _named(thing, clauses, spot=spots[index], phrase=thing.phrase) for thing in there
    )
    return _draft(images, question, answers, (one, two))


def build_size(setting: Setting) -> Draft:
    """Which of two things is drawn clearly larger."""
    rng = setting.rng
    one, two = _couple(setting)
    size = canvas_size(rng, 150, 288)
    across = size[0] >= size[1]
    order = (one, two) if chance(rng, 0.5) else (two, one)
    images = (
        _unequal(setting, size, order, across, large=one),
        _unequal(setting, size, order, across, large=two),
    )
    first, second = (one, two) if chance(rng, 0.5) else (two, one)
    question = SIZE.ask(setting, one=first.name, two=second.name)
    clauses = ("the {v} {be} bigger", "the {v} {be} larger", "the larger one is the {v}")
    answers = tuple(_named(thing, clauses) for thing in (one, two))
    return _draft(images, question, answers, (one, two))


def _checked(
    setting: Setting, one: Thing, two: Thing, relations: tuple[str, str]
) -> tuple[tuple[Answer, ...], str]:
    """A yes-or-no question about one of the two relations."""
    asked = pick(setting.rng, relations)
    question = CHECK.ask(setting, one=one.name, two=two.name, relation=asked)
    answers = []
    for relation in relations:
        word = "yes" if relation == asked else "no"
        fact = f"the {one.name} {one.is_are} {relation} the {two.name}"
        answers.append(Answer(word, (fact, f"{word}, {fact}"), f"{relation} the {two.name}"))
    return tuple(answers), question


def _named(thing: Thing, clauses: tuple[str, ...], **slots: str) -> Answer:
    filled = tuple(clause.format(v=thing.name, be=thing.is_are, **slots) for clause in clauses)
    return Answer(f"the {thing.name}", filled, f"the {thing.name}")


def _runs_across(rng: np.random.Generator, size: Size) -> bool:
    """Mostly along the longer side, so that neither thing gets too small."""
    if size[0] == size[1]:
        return chance(rng, 0.5)
    return (size[0] > size[1]) == chance(rng, 0.92)


def _couple(setting: Setting) -> tuple[Thing, Thing]:
    one, two = draw_things(setting, 2)
    return one, two


def _swapped(
    setting: Setting,
) -> tuple[tuple[Thing, Thing], tuple[Image.Image, Image.Image], bool]:
    """Two things, the pictures of them in both orders, and whether they stand side by side."""
    one, two = _couple(setting)
    size = canvas_size(setting.rng)
    across = _runs_across(setting.rng, size)

    def drawn(order: tuple[Thing, Thing]) -> Image.Image:
        places = in_line(setting.rng, size, 2, across)
        return compose(setting, size, list(zip(order, places, strict=True)))

    return (one, two), (drawn((one, two)), drawn((two, one))), across


def _unequal(
    setting: Setting, size: Size, order: tuple[Thing, Thing], across: bool, large: Thing
) -> Image.Image:
    """Both things in a row, one of them at most 0.6 times as wide as the other."""
    rng = setting.rng
    side = min(size[0] / (2 if across else 1), size[1] / (1 if across else 2))
    placed: list[tuple[Thing, Place]] = []
    for thing, strip in zip(order, in_line(rng, size, 2, across), strict=True):
        scale = spread(rng, 0.85, 0.98) if thing is large else spread(rng, 0.35, 0.52)
        reach = side * scale / 2
        x = min(max(strip.x, reach), size[0] - reach)
        y = min(max(strip.y, reach), size[1] - reach)
        middle = 0.25 if not placed else 0.75
        x, y = (size[0] * middle, y) if across else (x, size[1] * middle)
        placed.append((thing, Place(x, y, side * scale)))
    return compose(setting, size, placed)


def _draft(
    images: tuple[Image.Image, Image.Image],
    question: str,
    answers: tuple[Answer, ...],
    things: tuple[Thing, Thing],
) -> Draft:
    labels = {"objects": "|".join(thing.name for thing in things)}
    return Draft(images, question, (answers[0], answers[1]), (labels, labels))
