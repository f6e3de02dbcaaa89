"""Which word is printed here?"""

from __future__ import annotations

from edgecritic_train.data.dice import chance, pick
from edgecritic_train.data.questions.draft import Draft, answer, with_choice
from edgecritic_train.data.scenes.lettering import printed
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.wording import Wordings

WORDINGS = Wordings(
    seen=(
        "What does the sign say?",
        "Which word is written here?",
        "What word do you see in the image?",
        "Read the text in the picture.",
        "What is written on the sign?",
    ),
    held_out=("Spell out the lettering.", "Transcribe this for me."),
)
_CLAUSES = (
    'the word is "{v}"',
    'the sign says "{v}"',
    "it reads {v}",
    'the word "{v}" is written here',
)
_CASES = (str.lower, str.upper, str.capitalize)


def build(setting: Setting) -> Draft:
    """One printed word on either image."""
    rng = setting.rng
    first, second = two_words(setting)
    case = pick(rng, _CASES)
    images = printed(setting, case(first)), printed(setting, case(second))
    question = with_choice(setting, WORDINGS.ask(setting), f'"{first}"', f'"{second}"')
    return Draft(
        images,
        question,
        (answer(first, _CLAUSES), answer(second, _CLAUSES)),
        ({"word": first}, {"word": second}),
    )


def two_words(setting: Setting) -> tuple[str, str]:
    """Two different words; at times of one length or with one first letter."""
    rng = setting.rng
    words = setting.words()
    first = pick(rng, words)
    near = chance(rng, 0.25)
    for _ in range(200):
        second = pick(rng, words)
        alike = len(second) == len(first) or second[0] == first[0]
        if second != first and (alike or not near):
            break
    return first, second
