"""Playing cards and flags."""

from __future__ import annotations

from PIL import Image

from edgecritic_train.data.dice import chance, pick
from edgecritic_train.data.questions.draft import Draft, answer, two_of, with_choice
from edgecritic_train.data.responses import Grade, Graded
from edgecritic_train.data.scenes.exhibits import exhibited
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.wording import Wordings

CARD = Wordings(
    seen=(
        "Which playing card is this?",
        "What card does the image show?",
        "Name the card in the picture.",
        "Which card do you see?",
    ),
    held_out=("Somebody drew a card from the deck: which one?", "Identify the card on the table."),
)
SUIT = Wordings(
    seen=("Which suit is this card?", "What is the suit of the card?", "Name the suit."),
    held_out=("Hearts, spades, clubs, diamonds: where does this card belong?",),
)
FLAG = Wordings(
    seen=(
        "Which country's flag is this?",
        "Whose flag is shown?",
        "What flag does the image show?",
        "Which country does this flag belong to?",
    ),
    held_out=("Over which country would this banner fly?", "Match this flag to its nation."),
)
_CARD_CLAUSES = ("the card is the {v}", "this is the {v}", "the picture shows the {v}")
_SUIT_CLAUSES = ("the suit is {v}", "the card is of {v}", "it belongs to {v}")
_FLAG_CLAUSES = ("the flag is that of {v}", "this is the flag of {v}", "it belongs to {v}")


def build_card(setting: Setting) -> Draft:
    """A card by rank and suit; where the two differ in both, half-right answers are added."""
    one, two = _two_cards(setting)
    images = _shown(setting, one), _shown(setting, two)
    question = with_choice(setting, CARD.ask(setting), f"the {one}", f"the {two}")
    answers = answer(one, _CARD_CLAUSES), answer(two, _CARD_CLAUSES)
    return Draft(
        images, question, answers, ({"card": one}, {"card": two}), _crossed(setting, one, two)
    )


def build_suit(setting: Setting) -> Draft:
    """The suit of a card."""
    while True:
        one, two = two_of(setting, setting.cards())
        if _suit(one) != _suit(two) and _suit(one) and _suit(two):
            break
    images = _shown(setting, one), _shown(setting, two)
    question = with_choice(setting, SUIT.ask(setting), _suit(one), _suit(two))
    answers = answer(_suit(one), _SUIT_CLAUSES), answer(_suit(two), _SUIT_CLAUSES)
    return Draft(images, question, answers, ({"card": one}, {"card": two}))


def build_flag(setting: Setting) -> Draft:
    """A country's flag on either image."""
    one, two = two_of(setting, setting.countries())
    images = exhibited(setting, setting.flag(one)), exhibited(setting, setting.flag(two))
    question = with_choice(setting, FLAG.ask(setting), one, two, share=0.3)
    answers = answer(one, _FLAG_CLAUSES), answer(two, _FLAG_CLAUSES)
    return Draft(images, question, answers, ({"flag": one}, {"flag": two}))


def _two_cards(setting: Setting) -> tuple[str, str]:
    """Two cards; at times of one suit or of one rank."""
    cards = setting.cards()
    near = chance(setting.rng, 0.3)
    while True:
        one, two = two_of(setting, cards)
        alike = _suit(one) == _suit(two) or _rank(one) == _rank(two)
        if alike == near:
            return one, two


def _shown(setting: Setting, card: str) -> Image.Image:
    return exhibited(setting, setting.card(card), turn=12.0)


def _rank(card: str) -> str:
    return card.partition(" of ")[0]


def _suit(card: str) -> str:
    return card.partition(" of ")[2]


def _crossed(setting: Setting, one: str, two: str) -> tuple[Graded, ...]:
    """The rank of one card with the suit of the other: half right on both images."""
    if not chance(setting.rng, 0.5) or _rank(one) == _rank(two) or _suit(one) == _suit(two):
        return ()
    graded = []
    wording = pick(setting.rng, ("This is the {}.", "The card is the {}."))
    for here, there in ((one, two), (two, one)):
        rank: Grade = ("partial", 5, f"has only the {_rank(here)} right")
        suit: Grade = ("partial", 5, f"has only the suit {_suit(there)} right")
        sides = (rank, suit) if here == one else (suit, rank)
        card = f"{_rank(here)} of {_suit(there)}"
        graded.append(Graded.of(wording.format(card), *sides))
    return tuple(graded)
