"""The ways in which data asks for verdicts: a wording of the dialect with a rubric.

The wordings are those of the dialect ``edgecritic-wide-v1``, so that a critic can be asked later
in every way that it was trained on; a rubric says what to look at and, pointwise, on which scale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TypeVar

from edgecritic.prompts import Setting
from edgecritic.task import Rubric

DIALECT = "edgecritic-wide-v1"
"""The dialect that holds all wordings."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Template:
    """One way to ask.

    Attributes:
        name: unique, for audit logs and statistics.
        setting: what it asks for.
        wording: of `DIALECT`.
        rubric: criteria and scale.
        needs_reference: makes no sense without a right answer.
    """

    name: str
    setting: Setting
    wording: int
    rubric: Rubric
    needs_reference: bool = False


_PAIR_CRITERIA: tuple[tuple[str, str | None], ...] = (
    ("plain", None),
    ("accuracy", "Does the response agree with what the image shows?"),
    ("hallucination", "Fewer claims about things that are not in the image."),
    ("completeness", "How much of what was asked for is covered, without false additions."),
    ("helpfulness", "How far the response helps the person who asked."),
    ("overall", "Accuracy first, then completeness, then clarity."),
    ("relevance", "Keeps to the question and leaves out what nobody asked for."),
    ("detail", "Visible details that are named correctly: colours, numbers, places, text."),
    ("reasoning", "Each step follows from the image or from the step before."),
    ("brevity", "Says what is needed in few words; nothing important is lost."),
    ("honesty", "Admits what cannot be seen instead of guessing."),
    ("reading", "Text, numbers and signs in the image are read without mistakes."),
    ("counting", "Numbers of things and their positions are right."),
    ("clarity", "Easy to follow, in good order and without contradictions."),
    ("safety", "Says nothing about people in the image that could do harm."),
    ("instructions", "Keeps to the form that was asked for: length, language, format."),
)
_N_PAIRWISE_WORDINGS = 32

PAIRWISE: tuple[Template, ...] = tuple(
    Template(f"pairwise-{wording + 1:02d}-{name}", "pairwise", wording, Rubric(criteria=criteria))
    for wording, (name, criteria) in zip(
        range(_N_PAIRWISE_WORDINGS), cycle(_PAIR_CRITERIA), strict=False
    )
)
"""32 templates: every wording once, every criterion in two of them."""


def _scale(name: str, wording: int, rubric: Rubric, *, needs_reference: bool = False) -> Template:
    title = f"pointwise-{wording + 1:02d}-{name}"
    return Template(title, "pointwise", wording, rubric, needs_reference)


POINTWISE: tuple[Template, ...] = (
    _scale("overall-1-10", 0, Rubric(1, 10)),
    _scale("overall-0-100", 2, Rubric(0, 100, "Accuracy first, then completeness.")),
    _scale(
        "description-0-100",
        3,
        Rubric(0, 100, "How correct and how complete the description of the image is."),
    ),
    _scale(
        "reference-0-10",
        10,
        Rubric(0, 10, "How much of the reference answer the response contains, in any words."),
        needs_reference=True,
    ),
    _scale(
        "reference-1-10",
        6,
        Rubric(1, 10, "Helpful, relevant, accurate and detailed, measured by the reference."),
        needs_reference=True,
    ),
    _scale(
        "hallucination-0-6",
        7,
        Rubric(
            0,
            6,
            "Tells much, and nothing that the image does not hold.",
            {
                0: "tells nothing of use, and makes things up",
                1: "tells a little, and makes things up",
                2: "tells much, and makes things up",
                3: "makes nothing up, and tells nothing of use",
                4: "makes nothing up, and tells a little",
                5: "makes nothing up, and tells much",
                6: "makes nothing up, tells much, and reasons well about it",
            },
        ),
    ),
    _scale(
        "correctness-1-5",
        4,
        Rubric(
            1,
            5,
            "correctness",
            {
                1: "wrong, or no answer",
                2: "mostly wrong",
                3: "right in part",
                4: "right, with a small mistake or gap",
                5: "right and complete",
            },
        ),
    ),
    _scale(
        "verdict-0-1",
        11,
        Rubric(0, 1, "Is the answer right?", {0: "wrong", 1: "right"}),
    ),
    _scale(
        "partial-0-2",
        5,
        Rubric(
            0, 2, "correctness", {0: "wrong", 1: "partly right", 2: "right in all that was asked"}
        ),
    ),
    _scale("helpfulness-1-5", 8, Rubric(1, 5, "How far it helps the person who asked.")),
    _scale("trust-0-3", 12, Rubric(0, 3, "Could someone who cannot see the image rely on it?")),
    _scale("detail-1-7", 9, Rubric(1, 7, "Visible details that are named correctly.")),
    _scale("reasoning-1-4", 14, Rubric(1, 4, "Each step follows from the image.")),
    _scale("clarity-1-6", 15, Rubric(1, 6, "Clear, in good order and without contradictions.")),
    _scale("relevance-0-5", 13, Rubric(0, 5, "Answers what was asked, and only that.")),
    _scale("overall-1-20", 1, Rubric(1, 20, "Accuracy, completeness and clarity together.")),
)
"""16 templates on thirteen different scales: every wording once."""


def stable_number(*parts: object) -> int:
    """A number of 64 bits that depends on the parts alone, on every machine and in every run."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def stable_choice(options: Sequence[T], *parts: object) -> T:
    """One of the options, fixed by the parts."""
    return options[stable_number(*parts) % len(options)]


def pairwise_template(*parts: object) -> Template:
    """A pairwise template, fixed by the parts."""
    return stable_choice(PAIRWISE, "pairwise", *parts)


def pointwise_template(*parts: object, has_reference: bool) -> Template:
    """A pointwise template, fixed by the parts; without a reference none that needs it."""
    fitting = [t for t in POINTWISE if has_reference or not t.needs_reference]
    return stable_choice(fitting, "pointwise", *parts)
