"""The graded response families and their wordings.

A family is a surface form with a gold score for the case that its claim is true and one for
the case that it is false. Each form is used for the truth of image A and for that of image B,
which is what keeps the texts balanced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgecritic_train.data.dice import pick, shuffled
from edgecritic_train.data.items import Response
from edgecritic_train.data.reasons import PLAINLY_RIGHT, capitalised, pointwise_reason
from edgecritic_train.data.splits import held_out_wording


@dataclass(frozen=True, slots=True)
class Answer:
    """The truth of one image, in the forms that sentences need.

    Attributes:
        short: the bare value ("7", "red", "a dog").
        clauses: parallel wordings without capital or full stop ("the digit is 7"); the first
            is the fact that reasons quote. Both answers of an item have equally many.
        said: what a response that claims it "says" ("7", "that there is a dog").
    """

    short: str
    clauses: tuple[str, ...]
    said: str

    @property
    def fact(self) -> str:
        """The truth as a clause."""
        return self.clauses[0]


Grade = tuple[str, int, str]
"""Family, score and remark of a response on one image."""


@dataclass(frozen=True, slots=True)
class Graded:
    """A response text with its family, score and remark on both images; reasons come later."""

    text: str
    families: tuple[str, str]
    scores: tuple[int, int]
    remarks: tuple[str, str]

    @classmethod
    def of(cls, text: str, on_a: Grade, on_b: Grade) -> Graded:
        """A response from its grade on image A and on image B."""
        return cls(text, (on_a[0], on_b[0]), (on_a[1], on_b[1]), (on_a[2], on_b[2]))


@dataclass(frozen=True, slots=True)
class Form:
    """A surface form: how a claim is worded, and what it is worth when true and when false."""

    family: str
    right: int
    wrong: int
    remark: str
    wordings: tuple[str, ...]
    wrong_family: str = "wrong_value"
    wrong_remark: str = "says {said}"


PLAIN = Form("correct", 10, 3, PLAINLY_RIGHT, ("{Clause}.",))
TERSE = Form("terse", 9, 3, "is right but very short", ("{Short}", "{Short}.", "{short}"))
HEDGED = Form(
    "hedged",
    8,
    3,
    "is right but unsure",
    (
        "I think {clause}.",
        "It looks like {clause}.",
        "Maybe {clause}.",
        "I am not sure, but I would say {clause}.",
        "{Short}, I guess.",
        "Probably {short}.",
    ),
)
VERBOSE = Form(
    "correct",
    10,
    2,
    PLAINLY_RIGHT,
    (
        "Looking closely at the picture, {clause}. This can be seen clearly.",
        "After checking the whole image with care, I can say that {clause}.",
        "From what is shown here it is plain that {clause}, and nothing suggests otherwise.",
        "{Clause}. I looked at every part of the image before I answered, and I am certain.",
        "Thank you for the question. In this image {clause}, which is easy to make out.",
        "The image is clear enough to answer this without any doubt: {clause}.",
    ),
    "long_wrong",
    "says at length {said}",
)
CORRECTING = Form(
    "self_correcting",
    9,
    3,
    "is right in the end",
    (
        "At first sight I thought {other_clause}, but no: {clause}.",
        "One might say {other_short}. In fact {clause}.",
    ),
)
SHOUTED = Form("shouted", 9, 3, "is right but shouts", ("{CLAUSE}!!!", "{SHORT}!!!"))
BULLETED = Form(
    "bulleted",
    9,
    3,
    "is right as a list",
    ("Answer:\n- {short}", "* Looked at: the image\n* Answer: {short}"),
)

SEEN_FORMS: tuple[Form, ...] = (PLAIN, TERSE, HEDGED, VERBOSE)
HELD_OUT_FORMS: tuple[Form, ...] = (CORRECTING, SHOUTED, BULLETED)

EITHER_WORDINGS = ("It is either {one} or {two}.", "{One} or {two}.", "Could be {one} or {two}.")

REFUSALS = (
    "I cannot help with that.",
    "Sorry, I am not able to see the image, so I cannot answer this question.",
    "I don't know.",
    "It is impossible to tell.",
    "As a language model I have no way to look at pictures, and so I must decline to answer.",
    "No answer.",
    "I would rather not say anything about this picture, because I might be mistaken.",
)
CHATTER = (
    "Bread tastes best when it is still warm.",
    "The train leaves at noon from the second platform, so please be there in good time.",
    "Remember to drink enough water.",
    "My favourite season is autumn.",
    "To boil an egg, heat some water, put the egg in and wait for about eight minutes.",
    "Many people learn to play the piano when they are young, but it is never too late.",
    "Hello! How are you?",
    "blah blah blah",
    "The weather will be fine tomorrow.",
)
OTHER_IMAGE = (
    "Two children are playing football in a park full of trees.",
    "A boat crosses a calm lake at sunset.",
    "The photo shows a crowded street with many cars and shops.",
    "An old man reads a newspaper on a bench.",
    "Snow covers the mountains, and a small wooden house stands in front of them.",
    "A woman is cooking in a kitchen.",
)


@dataclass(frozen=True, slots=True)
class FamilyRange:
    """The gold scores that a family may carry."""

    low: int
    high: int


FAMILIES: dict[str, FamilyRange] = {
    "correct": FamilyRange(10, 10),
    "terse": FamilyRange(8, 9),
    "hedged": FamilyRange(8, 9),
    "self_correcting": FamilyRange(8, 9),
    "shouted": FamilyRange(8, 9),
    "bulleted": FamilyRange(8, 9),
    "partial": FamilyRange(5, 7),
    "undecided": FamilyRange(5, 5),
    "hallucinated": FamilyRange(4, 4),
    "wrong_value": FamilyRange(3, 3),
    "long_wrong": FamilyRange(2, 2),
    "other_image": FamilyRange(2, 2),
    "off_topic": FamilyRange(1, 1),
    "refusal": FamilyRange(1, 1),
    "empty": FamilyRange(1, 1),
}


def forms_of(split: str) -> tuple[Form, ...]:
    """The surface forms that a split may use."""
    return (PLAIN, *HELD_OUT_FORMS) if held_out_wording(split) else SEEN_FORMS


def value_responses(
    rng: np.random.Generator, answers: tuple[Answer, Answer], forms: Sequence[Form]
) -> list[Graded]:
    """Responses that claim the truth of A or of B: every given form once for either.

    Returns:
        Two responses a form, whose grades mirror each other.
    """
    graded: list[Graded] = []
    for form in forms:
        wording = pick(rng, form.wordings)
        clause = int(rng.integers(len(answers[0].clauses)))
        for side in (0, 1):
            text = _worded(wording, answers[side], answers[1 - side], clause)
            graded.append(_claim(form, text, answers[side], right_side=side))
    return graded


def undecided_response(rng: np.random.Generator, answers: tuple[Answer, Answer]) -> Graded:
    """A response that names both values without choosing: half right on either image."""
    one, two = shuffled(rng, (answers[0].short, answers[1].short))
    text = pick(rng, EITHER_WORDINGS).format(one=one, two=two, One=capitalised(one))
    return _same("undecided", text, 5, "does not decide")


def text_only_response(rng: np.random.Generator, question: str) -> Graded:
    """A response that is poor whatever the image shows."""
    mark = rng.random()
    if mark < 0.35:
        return _same("refusal", pick(rng, REFUSALS), 1, "does not answer")
    if mark < 0.50:
        return _same("empty", "", 1, "is empty")
    if mark < 0.57:
        return _same("off_topic", question, 1, "only repeats the question")
    if mark < 0.80:
        return _same("off_topic", pick(rng, CHATTER), 1, "is about something else")
    return _same("other_image", pick(rng, OTHER_IMAGE), 2, "describes another image")


def with_reasons(rng: np.random.Generator, graded: Graded, facts: tuple[str, str]) -> Response:
    """The finished response: its grade with a reason for each image."""
    scores, remarks = graded.scores, graded.remarks
    reasons = (
        pointwise_reason(rng, facts[0], remarks[0], scores[0]),
        pointwise_reason(rng, facts[1], remarks[1], scores[1]),
    )
    family = graded.families[0 if scores[0] >= scores[1] else 1]
    return Response(graded.text, family, scores, reasons, graded.families, remarks)


def _worded(wording: str, answer: Answer, other: Answer, clause: int) -> str:
    return wording.format(
        short=answer.short,
        Short=capitalised(answer.short),
        SHORT=answer.short.upper(),
        clause=answer.clauses[clause],
        Clause=capitalised(answer.clauses[clause]),
        CLAUSE=answer.clauses[clause].upper(),
        other_short=other.short,
        other_clause=other.clauses[clause],
    )


def _claim(form: Form, text: str, answer: Answer, right_side: int) -> Graded:
    right = (form.family, form.right, form.remark)
    wrong = (form.wrong_family, form.wrong, form.wrong_remark.format(said=answer.said))
    sides = (right, wrong) if right_side == 0 else (wrong, right)
    return Graded.of(text, *sides)


def _same(family: str, text: str, score: int, remark: str) -> Graded:
    grade = (family, score, remark)
    return Graded.of(text, grade, grade)
