"""Which piece of clothing is this?"""

from __future__ import annotations

from edgecritic_train.data.dice import any_of, pick
from edgecritic_train.data.questions.draft import Draft, answer, with_choice
from edgecritic_train.data.scenes.exhibits import garment
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.wording import Wordings, with_article

WORDINGS = Wordings(
    seen=(
        "Which piece of clothing is this?",
        "What item of clothing does the image show?",
        "What kind of garment is in the picture?",
        "What would you call this item?",
    ),
    held_out=("Under which heading would a shop sell this?", "A customer wears what here?"),
)
_CLAUSES = ("the picture shows {v}", "this is {v}", "the item is {v}")
_ALIKE = ("t-shirt", "pullover", "coat", "shirt", "dress")
"""Upper garments that people mix up at 28 px, so they never stand against each other."""


def build(setting: Setting) -> Draft:
    """One garment on either image, of classes that can be told apart."""
    rng = setting.rng
    garments = setting.garments()
    names = tuple(garments)
    while True:
        one, two = pick(rng, names), pick(rng, names)
        if one != two and not _confusable(one, two):
            break
    images = (
        garment(setting, any_of(rng, garments[one])),
        garment(setting, any_of(rng, garments[two])),
    )
    phrases = phrase(one), phrase(two)
    question = with_choice(setting, WORDINGS.ask(setting), *phrases)
    answers = answer(phrases[0], _CLAUSES), answer(phrases[1], _CLAUSES)
    return Draft(images, question, answers, ({"garment": one}, {"garment": two}))


def phrase(name: str) -> str:
    """A garment with its article."""
    if name == "trouser":
        return "a pair of trousers"
    return with_article(name)


def _confusable(one: str, other: str) -> bool:
    return one.lower() in _ALIKE and other.lower() in _ALIKE
