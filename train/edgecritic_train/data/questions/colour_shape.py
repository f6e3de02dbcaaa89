"""Colours and forms of drawn shapes: which colour, which shape, and both at once."""

from __future__ import annotations

from PIL import Image

from edgecritic_train.data.dice import chance, pick, whole
from edgecritic_train.data.questions.draft import Draft, answer, with_choice
from edgecritic_train.data.responses import Grade, Graded
from edgecritic_train.data.scenes.layout import Size, canvas_size, scattered
from edgecritic_train.data.scenes.palette import COLOUR_NAMES
from edgecritic_train.data.scenes.shapes import SHAPES
from edgecritic_train.data.scenes.things import (
    Thing,
    compose,
    draw_shape_things,
    shape_allowed,
    shape_thing,
)
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.wording import Wordings, with_article

COLOUR = Wordings(
    seen=(
        "What colour is the {shape}?",
        "Which colour does the {shape} have?",
        "Tell me the colour of the {shape}.",
        "What is the colour of the {shape} in the image?",
    ),
    held_out=("The {shape} was painted in what colour?", "Describe the hue of the {shape}."),
)
SHAPE = Wordings(
    seen=(
        "What shape is {colour}?",
        "Which shape is drawn in {colour}?",
        "What is the {colour} shape called?",
        "Name the {colour} shape.",
    ),
    held_out=("What form does the {colour} figure take?", "The figure in {colour} is a what?"),
)
DESCRIBE = Wordings(
    seen=(
        "What is in the picture?",
        "Describe the shape in the image.",
        "Which shape is this, and what colour is it?",
        "What do you see?",
    ),
    held_out=("Put the content of this drawing into words.", "What did somebody draw here?"),
)
_COLOUR_CLAUSES = ("the {shape} is {v}", "the colour of the {shape} is {v}", "it is {v}")
_SHAPE_CLAUSES = ("the {colour} shape is {a}", "it is {a}", "{a} is drawn in {colour}")
_DESCRIBE_CLAUSES = ("the picture shows {v}", "there is {v} in the picture", "this is {v}")


def build_colour(setting: Setting) -> Draft:
    """One shape in another colour on either image, maybe among others."""
    rng = setting.rng
    shape = pick(rng, SHAPES)
    options = [colour for colour in COLOUR_NAMES if shape_allowed(setting, colour, shape)]
    colours = _two(setting, options)
    things = shape_thing(colours[0], shape), shape_thing(colours[1], shape)
    size = canvas_size(rng)
    others = _others(setting, things, avoid=colours)
    images = _among(setting, size, things, others)
    question = with_choice(setting, COLOUR.ask(setting, shape=shape), *colours)
    answers = (
        answer(colours[0], _COLOUR_CLAUSES, shape=shape),
        answer(colours[1], _COLOUR_CLAUSES, shape=shape),
    )
    labels = _labels([things[0], *others]), _labels([things[1], *others])
    return Draft(images, question, answers, labels)


def build_shape(setting: Setting) -> Draft:
    """Another shape in one colour on either image, maybe among others."""
    rng = setting.rng
    colour = pick(rng, COLOUR_NAMES)
    options = [shape for shape in SHAPES if shape_allowed(setting, colour, shape)]
    shapes = _two(setting, options)
    things = shape_thing(colour, shapes[0]), shape_thing(colour, shapes[1])
    size = canvas_size(rng)
    others = _others(setting, things, avoid=(colour, colour))
    images = _among(setting, size, things, others)
    question = with_choice(setting, SHAPE.ask(setting, colour=colour), *shapes)
    answers = (
        answer(shapes[0], _SHAPE_CLAUSES, colour=colour, a=with_article(shapes[0])),
        answer(shapes[1], _SHAPE_CLAUSES, colour=colour, a=with_article(shapes[1])),
    )
    labels = _labels([things[0], *others]), _labels([things[1], *others])
    return Draft(images, question, answers, labels)


def build_describe(setting: Setting) -> Draft:
    """One shape alone; responses may get only its form or only its colour right."""
    rng = setting.rng
    things = _described(setting)
    size = canvas_size(rng, 112, 240)
    images = _alone(setting, size, things[0]), _alone(setting, size, things[1])
    answers = (
        answer(things[0].phrase, _DESCRIBE_CLAUSES),
        answer(things[1].phrase, _DESCRIBE_CLAUSES),
    )
    return Draft(
        images,
        DESCRIBE.ask(setting),
        answers,
        (_labels([things[0]]), _labels([things[1]])),
        extra=_halves(setting, things),
    )


def _described(setting: Setting) -> tuple[Thing, Thing]:
    """Two shapes that differ in both colour and form."""
    first, second = draw_shape_things(setting, 2)
    return first, second


def _halves(setting: Setting, things: tuple[Thing, Thing]) -> tuple[Graded, ...]:
    """Partly right: the form of one image without colour, and with the other's colour."""
    bare = chance(setting.rng, 0.6)
    graded = []
    for side in (0, 1):
        here, there = things[side], things[1 - side]
        named = with_article(here.shape if bare else f"{there.colour} {here.shape}")
        good: Grade = ("partial", 7, "is right but leaves out the colour")
        bad: Grade = ("wrong_value", 3, f"says {with_article(here.shape)}")
        if not bare:
            good = ("partial", 5, f"has only the {here.shape} right")
            bad = ("partial", 5, f"has only the colour {there.colour} right")
        sides = (good, bad) if side == 0 else (bad, good)
        graded.append(Graded.of(f"The picture shows {named}.", *sides))
    return tuple(graded)


def _others(setting: Setting, things: tuple[Thing, Thing], avoid: tuple[str, str]) -> list[Thing]:
    """Up to two shapes of other forms and colours than the asked one's."""
    others: list[Thing] = []
    for _ in range(whole(setting.rng, 0, 2)):
        (other,) = draw_shape_things(setting, 1)
        taken = {*avoid, *(o.colour for o in others)}
        shapes = {things[0].shape, things[1].shape, *(o.shape for o in others)}
        if other.colour not in taken and other.shape not in shapes:
            others.append(other)
    return others


def _among(
    setting: Setting, size: Size, things: tuple[Thing, Thing], others: list[Thing]
) -> tuple[Image.Image, Image.Image]:
    """A scene for each of the two asked shapes, with the same others around it."""
    scenes = []
    for thing in things:
        crowd = [thing, *others]
        places = scattered(setting.rng, size, len(crowd))
        scenes.append(compose(setting, size, list(zip(crowd, places, strict=True))))
    return scenes[0], scenes[1]


def _alone(setting: Setting, size: Size, thing: Thing) -> Image.Image:
    (place,) = scattered(setting.rng, size, 1, (0.4, 0.9))
    return compose(setting, size, [(thing, place)])


def _two(setting: Setting, options: list[str]) -> tuple[str, str]:
    first, second = setting.rng.permutation(len(options))[:2]
    return options[int(first)], options[int(second)]


def _labels(shown: list[Thing]) -> dict[str, str]:
    """All shapes of a picture: a tower that reads one of them is right, whichever was asked for."""
    return {
        "colour": "|".join(thing.colour for thing in shown),
        "shape": "|".join(thing.shape for thing in shown),
        "objects": "|".join(thing.name for thing in shown),
    }
