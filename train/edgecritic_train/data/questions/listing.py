"""What is in the picture? Scenes of two to four things, with partial and invented answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecritic_train.data.dice import chance, pick, sample, shuffled, whole
from edgecritic_train.data.questions.draft import Draft
from edgecritic_train.data.questions.objects import scene
from edgecritic_train.data.reasons import PLAINLY_RIGHT, capitalised
from edgecritic_train.data.responses import Answer, Grade, Graded
from edgecritic_train.data.scenes.layout import canvas_size
from edgecritic_train.data.scenes.things import Thing, draw_things
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.splits import held_out_wording
from edgecritic_train.data.wording import Wordings, listed

WORDINGS = Wordings(
    seen=(
        "What is in the picture?",
        "Which things do you see?",
        "List everything in the image.",
        "What does the picture show?",
        "Name all the things in the image.",
        "Describe the picture.",
    ),
    held_out=(
        "Take stock of everything that has been drawn.",
        "What would I find if I looked at this?",
    ),
)
_SENTENCES = (
    "The picture shows {v}.",
    "There is {v} in the image.",
    "I can see {v}.",
    "I see {v}.",
)
_TERSE = ("{V}.", "{V}", "{v}")
_HEDGED = ("I think I see {v}.", "It looks like {v}.", "Maybe {v}.")
_VERBOSE = (
    "Looking at the whole image with care, I find {v}, and nothing else of note.",
    "This is a simple scene. It shows {v}, each of which is easy to make out.",
    "After checking every corner of the picture, I can say that it contains {v}.",
)
_Set = frozenset[Thing]
_EXACT: Grade = ("correct", 10, PLAINLY_RIGHT)
_SEEN: tuple[tuple[tuple[str, ...], Grade], ...] = (
    (_SENTENCES, _EXACT),
    (_VERBOSE, _EXACT),
    (_TERSE, ("terse", 9, "is right but very short")),
    (_HEDGED, ("hedged", 8, "is right but unsure")),
)
"""Wordings with the grade of a full and faithful list."""
_HELD_OUT: tuple[tuple[tuple[str, ...], Grade], ...] = (
    (_SENTENCES, _EXACT),
    (("{U}!!!", "I SEE {U}!!!"), ("shouted", 9, "is right but shouts")),
    (("Answer:\n- {v}", "Inventory: {v}"), ("bulleted", 9, "is right as a list")),
)


def build(setting: Setting) -> Draft:
    """Two scenes that differ in one thing, by one thing more, or wholly."""
    rng = setting.rng
    sides = _two_sets(setting)
    size = canvas_size(rng, 176, 304)
    images = scene(setting, size, sides[0]), scene(setting, size, sides[1])
    truths = frozenset(sides[0]), frozenset(sides[1])
    answers = tuple(_reference(rng, side) for side in sides)
    labels = tuple({"objects": "|".join(thing.name for thing in side)} for side in sides)
    return Draft(
        images,
        WORDINGS.ask(setting),
        (answers[0], answers[1]),
        (labels[0], labels[1]),
        extra=tuple(_responses(setting, truths)),
        values=False,
    )


def _two_sets(setting: Setting) -> tuple[list[Thing], list[Thing]]:
    rng = setting.rng
    way = rng.random()
    count = whole(rng, 2, 4 if way < 0.7 else 3)
    shapes = 0.25
    if way < 0.4:  # one thing is exchanged
        things = draw_things(setting, count + 1, shapes=shapes)
        one, two = things[:-1], [*things[1:-1], things[-1]]
    elif way < 0.75:  # one thing more
        things = draw_things(setting, min(count, 4), shapes=shapes)
        one, two = (things, things[:-1]) if chance(rng, 0.5) else (things[:-1], things)
    else:
        things = draw_things(setting, 2 * count, shapes=shapes)
        one, two = things[:count], things[count:]
    return one, two


def _reference(rng: np.random.Generator, things: Sequence[Thing]) -> Answer:
    names = listed([thing.phrase for thing in shuffled(rng, things)])
    return Answer(names, (f"the picture shows {names}",), names)


def _responses(setting: Setting, truths: tuple[_Set, _Set]) -> list[Graded]:
    """Two surface forms for either truth, and one partial or inventive pair."""
    rng = setting.rng
    graded = []
    for wordings, exact in sample(rng, _HELD_OUT if held_out_wording(setting.split) else _SEEN, 2):
        wording = pick(rng, wordings)
        graded += [_say(rng, wording, truth, truths, exact) for truth in truths]
    wording = pick(rng, _SENTENCES)
    bent: list[_Set] = []
    strangers = draw_things(setting, 2, shapes=0.0)
    for truth, stranger in zip(truths, strangers, strict=True):
        said = _bent(rng, truth, stranger)
        if said not in (*truths, *bent):
            bent.append(said)
            graded.append(_say(rng, wording, said, truths, _EXACT))
    return graded


def _bent(rng: np.random.Generator, truth: _Set, stranger: Thing) -> _Set:
    """A truth with a thing left out, or with one that is not there."""
    names = {thing.name for thing in truth}
    if len(truth) > 1 and (chance(rng, 0.5) or stranger.name in names):
        left_out = pick(rng, sorted(truth, key=lambda thing: thing.name))
        return truth - {left_out}
    return truth | {stranger}


def _say(
    rng: np.random.Generator, wording: str, said: _Set, truths: tuple[_Set, _Set], exact: Grade
) -> Graded:
    ordered = shuffled(rng, sorted(said, key=lambda thing: thing.name))
    names = listed([thing.phrase for thing in ordered])
    text = wording.format(v=names, V=capitalised(names), U=names.upper())
    if ordered[0].is_are == "are":
        text = text.replace("There is ", "There are ", 1)
    return Graded.of(text, *(grade_list(said, truth, exact) for truth in truths))


def grade_list(said: _Set, truth: _Set, exact: Grade) -> Grade:
    """Family, score and remark of a list of things against what is there.

    Args:
        said: the things that the response names.
        truth: the things in the picture.
        exact: the grade of a full and faithful list in this surface form.
    """
    missing = sorted(thing.phrase for thing in truth - said)
    invented = sorted(thing.phrase for thing in said - truth)
    if not missing and not invented:
        return exact
    if not invented:
        score = 5 if len(missing) > 1 else (6 if len(truth) < 3 else 7)
        return "partial", score, f"leaves out {listed(_definite(missing))}"
    if not missing:
        return "hallucinated", 4, f"adds {listed(invented)} that is not there"
    if said & truth:
        remark = f"names {listed(invented)} and leaves out {listed(_definite(missing))}"
        return "wrong_value", 3, remark
    return "other_image", 2, "names other things"


def _definite(phrases: Sequence[str]) -> list[str]:
    """The things with "the" in place of "a" or nothing."""
    return [f"the {phrase.removeprefix('an ').removeprefix('a ')}" for phrase in phrases]
