"""Numbers of two or three digits: handwritten, on signs, and as prices."""

from __future__ import annotations

from PIL.Image import Image

from edgecritic_train.data.dice import chance, pick, whole
from edgecritic_train.data.questions.draft import Draft, answer, two_of, with_choice
from edgecritic_train.data.scenes.handwriting import handwritten, number_canvas
from edgecritic_train.data.scenes.lettering import printed
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.splits import number_allowed
from edgecritic_train.data.wording import Wordings

HANDWRITTEN = Wordings(
    seen=(
        "Which number is written here?",
        "What number does the image show?",
        "Read the handwritten number.",
        "What is the number in this picture?",
    ),
    held_out=("Tell me the figure on the paper.", "Which value did the writer put down?"),
)
PRINTED = Wordings(
    seen=(
        "What number is on the sign?",
        "Which number is printed here?",
        "Read the number on the sign.",
        "What number does the sign show?",
    ),
    held_out=("Give the figure on this board.", "The sign bears which number?"),
)
PRICE = Wordings(
    seen=(
        "What is the price?",
        "How much does it cost?",
        "What price is on the tag?",
        "Read the price tag.",
    ),
    held_out=("How expensive is this item?", "What would I have to pay for it?"),
)
_WRITTEN_CLAUSES = ("the number is {v}", "the picture shows the number {v}", "it reads {v}")
_SIGN_CLAUSES = ("the number is {v}", "the sign shows {v}", "the number on the sign is {v}")
_PRICE_CLAUSES = ("the price is {v}", "it costs {v}", "the tag says {v}")


def build_handwritten(setting: Setting) -> Draft:
    """A handwritten number on either image."""
    values = two_numbers(setting, 3 if chance(setting.rng, 0.3) else 2)
    size = number_canvas(setting.rng, len(values[0]))
    images = handwritten(setting, values[0], size), handwritten(setting, values[1], size)
    question = with_choice(setting, HANDWRITTEN.ask(setting), *values)
    return _draft(images, question, values, _WRITTEN_CLAUSES)


def build_printed(setting: Setting) -> Draft:
    """A printed number on a board or a round sign."""
    values = two_numbers(setting, 3 if chance(setting.rng, 0.3) else 2)
    board = pick(setting.rng, ("board", "rounded", "disc"))
    images = printed(setting, values[0], board), printed(setting, values[1], board)
    question = with_choice(setting, PRINTED.ask(setting), *values)
    return _draft(images, question, values, _SIGN_CLAUSES)


def build_price(setting: Setting) -> Draft:
    """A price tag, in whole units or with cents."""
    rng = setting.rng
    units = two_numbers(setting, 2)
    if chance(rng, 0.5):
        cents = pick(rng, ("50", "99", "20", "75"))
        if setting.split != "T2":  # which has held-out numbers, and those have two digits
            units = two_of(setting, tuple("123456789"))
        units = f"{units[0]}.{cents}", f"{units[1]}.{cents}"
    mark = pick(rng, ("${}", "${}", "{} €", "£{}"))
    values = mark.format(units[0]), mark.format(units[1])
    images = printed(setting, values[0], "tag"), printed(setting, values[1], "tag")
    question = with_choice(setting, PRICE.ask(setting), *values)
    return _draft(images, question, values, _PRICE_CLAUSES)


def two_numbers(setting: Setting, digits: int) -> tuple[str, str]:
    """Two different numbers of the split; a third of the time they differ in one digit only."""
    first = _number(setting, digits)
    near = chance(setting.rng, 0.3)
    while True:
        second = _number(setting, digits)
        alike = sum(a == b for a, b in zip(first, second, strict=True))
        if second != first and (not near or alike == digits - 1):
            return first, second


def _number(setting: Setting, digits: int) -> str:
    low, high = 10 ** (digits - 1), 10**digits - 1
    while True:
        number = whole(setting.rng, low, high)
        if number_allowed(number, setting.split):
            return str(number)


def _draft(
    images: tuple[Image, Image], question: str, values: tuple[str, str], clauses: tuple[str, ...]
) -> Draft:
    return Draft(
        images,
        question,
        (answer(values[0], clauses), answer(values[1], clauses)),
        ({"number": values[0]}, {"number": values[1]}),
    )
