"""One or a few pictured things: their name, their category, whether one is there."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from edgecritic_train.data.assets import Concept
from edgecritic_train.data.dice import chance, pick, shuffled, whole
from edgecritic_train.data.questions.draft import Draft, answer, with_choice
from edgecritic_train.data.responses import Answer
from edgecritic_train.data.scenes.layout import Size, canvas_size, scattered
from edgecritic_train.data.scenes.things import (
    Thing,
    compose,
    concept_thing,
    draw_concepts,
    draw_things,
)
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.wording import Wordings

NAMING = Wordings(
    seen=(
        "What is this?",
        "What is in the picture?",
        "What does the image show?",
        "Name the object in the picture.",
        "What can you see here?",
        "What is shown in this image?",
        "Which thing is drawn here?",
    ),
    held_out=(
        "Put a name to what has been drawn.",
        "If you had to label this image, what would you write?",
    ),
)
CATEGORY = Wordings(
    seen=(
        "What kind of thing is this?",
        "What sort of thing is in the picture?",
        "Which category does the pictured thing belong to?",
        "What type of thing does the image show?",
    ),
    held_out=("In which drawer of a catalogue would you file this?", "Classify the drawing."),
)
PRESENCE = Wordings(
    seen=(
        "Is there {phrase} in the picture?",
        "Does the image show {phrase}?",
        "Can you see {phrase}?",
        "Is {phrase} visible in the image?",
    ),
    held_out=("I am looking for {phrase}. Would I find that here?", "Any sign of {phrase}?"),
)
_NAMING_CLAUSES = (
    "the picture shows {v}",
    "this is {v}",
    "there {be} {v} in the image",
    "I see {v}",
)
_MANY_CLAUSES = (
    "the picture shows {v}",
    "these are {v}",
    "there {be} {v} in the image",
    "I see {v}",
)
_CATEGORY_CLAUSES = ("this is {v}", "the picture shows {v}", "the pictured thing is {v}")

CATEGORY_PHRASES: dict[str, str] = {
    "animal": "an animal",
    "plant": "a plant",
    "food": "something to eat",
    "drink": "something to drink",
    "household": "a household item",
    "nature": "a thing from nature",
    "building": "a building",
    "vehicle": "a vehicle",
    "object": "an everyday object",
    "sport": "sports gear",
    "toy": "a toy",
    "tool": "a tool",
    "clothing": "something to wear",
    "instrument": "a musical instrument",
    "electronics": "an electronic device",
    "office": "an office item",
    "person": "a person or body part",
    "symbol": "a symbol",
}
_CLEAR_CATEGORIES = (
    "animal",
    "plant",
    "food",
    "vehicle",
    "building",
    "clothing",
    "instrument",
    "tool",
    "sport",
    "electronics",
)
"""Categories that a person would name alike; "object" or "symbol" are no answer."""


def build_naming(setting: Setting) -> Draft:
    """One thing, another one on image B; at times of the same category."""
    near = chance(setting.rng, 0.25)
    one, two = (concept_thing(concept) for concept in draw_concepts(setting, 2, near))
    size = canvas_size(setting.rng, 112, 256)
    images = alone(setting, size, one), alone(setting, size, two)
    question = with_choice(setting, NAMING.ask(setting), one.phrase, two.phrase)
    labels = {"objects": one.name}, {"objects": two.name}
    return Draft(images, question, (_named(one), _named(two)), labels)


def build_category(setting: Setting) -> Draft:
    """One thing of a clear category, one of another on image B."""
    one, two = _two_categories(setting)
    size = canvas_size(setting.rng, 112, 256)
    things = concept_thing(one), concept_thing(two)
    images = alone(setting, size, things[0]), alone(setting, size, things[1])
    phrases = CATEGORY_PHRASES[one.category], CATEGORY_PHRASES[two.category]
    question = with_choice(setting, CATEGORY.ask(setting), *phrases, share=0.3)
    labels = tuple({"objects": c.name, "category": c.category} for c in (one, two))
    answers = answer(phrases[0], _CATEGORY_CLAUSES), answer(phrases[1], _CATEGORY_CLAUSES)
    return Draft(images, question, answers, (labels[0], labels[1]))


def build_presence(setting: Setting) -> Draft:
    """One to three things; the asked one stands on one image and another one on the other."""
    rng = setting.rng
    count = whole(rng, 1, 3)
    asked, other, *rest = draw_things(setting, count + 1, chance(rng, 0.2), shapes=0.25)
    size = canvas_size(rng, 144, 288)
    here, gone = [asked, *rest], [other, *rest]
    yes, no = _present(asked), _absent(asked)
    question = PRESENCE.ask(setting, phrase=asked.phrase)
    first = chance(rng, 0.5)
    sides = (here, gone) if first else (gone, here)
    answers = (yes, no) if first else (no, yes)
    images = scene(setting, size, sides[0]), scene(setting, size, sides[1])
    labels = tuple({"objects": "|".join(thing.name for thing in side)} for side in sides)
    return Draft(images, question, answers, (labels[0], labels[1]))


def alone(setting: Setting, size: Size, thing: Thing) -> Image.Image:
    """One thing, large."""
    (place,) = scattered(setting.rng, size, 1, (0.6, 0.95))
    return compose(setting, size, [(thing, place)])


def scene(setting: Setting, size: Size, things: Sequence[Thing]) -> Image.Image:
    """Several things, anywhere."""
    places = scattered(setting.rng, size, len(things), (0.72, 0.97))
    placed = list(zip(shuffled(setting.rng, things), places, strict=True))
    return compose(setting, size, placed)


def _named(thing: Thing) -> Answer:
    clauses = _MANY_CLAUSES if thing.is_are == "are" else _NAMING_CLAUSES
    return answer(thing.phrase, clauses, be=thing.is_are)


def _present(thing: Thing) -> Answer:
    fact = f"there {thing.is_are} {thing.phrase} in the picture"
    return Answer("yes", (fact, f"yes, {fact}", f"I can see {thing.phrase}"), f"that {fact}")


def _absent(thing: Thing) -> Answer:
    none = f"no {thing.name}"
    fact = f"there {thing.is_are} {none} in the picture"
    return Answer("no", (fact, f"no, {fact}", f"I can see {none}"), f"that {fact}")


def _two_categories(setting: Setting) -> tuple[Concept, Concept]:
    pool = [c for c in setting.concepts() if c.category in _CLEAR_CATEGORIES]
    one = pick(setting.rng, pool)
    two = pick(setting.rng, [c for c in pool if c.category != one.category])
    return one, two
