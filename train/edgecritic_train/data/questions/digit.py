"""Which digit is written here?"""

from __future__ import annotations

from edgecritic_train.data.dice import chance
from edgecritic_train.data.questions.draft import Draft, answer, two_of, with_choice
from edgecritic_train.data.scenes.handwriting import handwritten, number_canvas
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.wording import NUMBER_WORDS, Wordings, with_article

WORDINGS = Wordings(
    seen=(
        "Which digit is this?",
        "What digit is shown in the image?",
        "What number is written here?",
        "Which number do you see?",
        "Read the handwritten digit.",
        "What is the digit in this picture?",
    ),
    held_out=(
        "Name the numeral that somebody wrote here.",
        "Can you make out this figure from 0 to 9?",
    ),
)
_CLAUSES = (
    "the digit is {v}",
    "the picture shows {a}",
    "this is a handwritten {v}",
    "the number written here is {v}",
)


def build(setting: Setting) -> Draft:
    """One handwritten digit on either image."""
    values = two_of(setting, tuple("0123456789"))
    size = number_canvas(setting.rng, 1)
    images = handwritten(setting, values[0], size), handwritten(setting, values[1], size)
    spelt = chance(setting.rng, 0.15)
    shown = tuple(NUMBER_WORDS[int(value)] if spelt else value for value in values)
    question = with_choice(setting, WORDINGS.ask(setting), shown[0], shown[1])
    answers = tuple(answer(value, _CLAUSES, a=with_article(value)) for value in shown)
    return Draft(
        images,
        question,
        (answers[0], answers[1]),
        ({"digit": values[0]}, {"digit": values[1]}),
    )
