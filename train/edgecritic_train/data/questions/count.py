"""How many are there? One to six things of a kind, with or without others among them."""

from __future__ import annotations

from PIL import Image

from edgecritic_train.data.dice import chance, pick, whole
from edgecritic_train.data.questions.draft import Draft, answer, two_of, with_choice
from edgecritic_train.data.scenes.layout import Size, canvas_size, scattered
from edgecritic_train.data.scenes.things import Thing, compose, draw_things
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.wording import NUMBER_WORDS, Wordings

WORDINGS = Wordings(
    seen=(
        "How many {plural} are there?",
        "How many {plural} can you see?",
        "Count the {plural} in the picture.",
        "What is the number of {plural} in the image?",
        "How many {plural} does the picture show?",
    ),
    held_out=(
        "Give me a tally of the {plural}.",
        "The picture contains what quantity of {plural}?",
    ),
)
_ONE = ("there is {v} {name}", "the picture shows {v} {name}", "I count {v} {name}")
_MANY = ("there are {v} {name}", "the picture shows {v} {name}", "I count {v} {name}")


def build(setting: Setting) -> Draft:
    """The same things, but another number of them on either image."""
    rng = setting.rng
    thing, other = countable(setting)
    counts = two_of(setting, ("1", "2", "3", "4", "5", "6"))
    size = canvas_size(rng, 160, 288)
    others = whole(rng, 1, 2) if chance(rng, 0.35) else 0
    crowd = [other] * others
    images = (
        _scene(setting, size, [thing] * int(counts[0]) + crowd),
        _scene(setting, size, [thing] * int(counts[1]) + crowd),
    )
    spelt = chance(rng, 0.3)
    one, two = (NUMBER_WORDS[int(count)] if spelt else count for count in counts)
    question = with_choice(setting, WORDINGS.ask(setting, plural=thing.plural), one, two, 0.1)
    answers = tuple(
        answer(value, _ONE, name=thing.name)
        if count == "1"
        else answer(value, _MANY, name=thing.plural)
        for value, count in zip((one, two), counts, strict=True)
    )
    objects = "|".join([thing.name] + [other.name] * bool(others))
    labels = tuple({"count": count, "objects": objects} for count in counts)
    return Draft(images, question, (answers[0], answers[1]), (labels[0], labels[1]))


def countable(setting: Setting) -> tuple[Thing, Thing]:
    """Two kinds of things that have a singular and a plural."""
    while True:
        one, two = draw_things(setting, 2, shapes=0.45)
        if one.is_are == "is" and two.is_are == "is" and one.name != one.plural:
            return one, two


def _scene(setting: Setting, size: Size, things: list[Thing]) -> Image.Image:
    fill = pick(setting.rng, ((0.5, 0.7), (0.65, 0.9), (0.8, 0.95)))
    places = scattered(setting.rng, size, len(things), fill)
    return compose(setting, size, list(zip(things, places, strict=True)))
