"""Verdicts from generated text, for engines without logits and for other critics' habits.

Strict on purpose: a text states a verdict only if all its statements say the same and that lies
inside the range. Everything else is None, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from edgecritic.debias import OUTCOMES
from edgecritic.task import Rubric
from edgecritic.verdict import Winner

# "7 or 8", "1-10" and "7/10/12" state no single level.
_ALONE = r"(?![\w%])(?!\s*(?:/|out of\b|[-\u2013]|to\b|or\b|and\b)\s*\d)"
_VALUE = r"(?P<value>-?\d++(?:[.,]\d++)*+)"  # possessive: "7.5%" must not become "7"
_OF = r"\s*(?:/|out of)\s*(?P<of>\d++(?:[.,]\d++)*+)"
_NUMBER = rf"{_VALUE}(?:{_OF})?{_ALONE}"
# From the plainest statement to the loosest; the first form that occurs is the one that counts.
_LEVEL_FORMS = tuple(
    re.compile(form, re.IGNORECASE | re.ASCII)
    for form in (
        rf"\[\[\s*{_NUMBER}\s*\]\]",
        rf"\b(?:score|rating|grade)\b[\s:=*\"']*(?:is\b)?[\s:=*\"']*{_NUMBER}",
        rf"(?<![\w.,/-]){_VALUE}{_OF}{_ALONE}",
        rf"\A\s*{_NUMBER}[\s.]*\Z",
    )
)
_WHOLE = re.compile(r"[0-9]{1,9}")
_FIRST = ("A", "A>B", "A>>B", "B<A", "B<<A")
_SECOND = ("B", "B>A", "B>>A", "A<B", "A<<B")
_TIE = ("C", "TIE", "A=B", "B=A")
_BRACKETS: Mapping[str, Winner] = {
    **dict.fromkeys(_FIRST, "first"),
    **dict.fromkeys(_SECOND, "second"),
    **dict.fromkeys(_TIE, "tie"),
}
_BRACKET = re.compile(r"\[\[\s*([ABC]|tie|[AB]\s*(?:<<|<|=|>|>>)\s*[AB])\s*\]\]", re.IGNORECASE)
Stated = TypeVar("Stated")
_LABELS: Mapping[str, str] = MappingProxyType({w: w for w in OUTCOMES})


def parse_level(text: str, rubric: Rubric) -> int | None:
    """The level that a text states, or None.

    Understood are ``[[7]]``, ``Score: 7`` (rating, grade), ``7/10``, ``7 out of 10`` and a text
    that is nothing but the number. A denominator must be the rubric's highest level.

    Args:
        text: what a critic generated.
        rubric: the range that a level must lie in.
    """
    for form in _LEVEL_FORMS:
        levels = [_level(match, rubric) for match in form.finditer(text)]
        if levels:
            return _only(levels)
    return None


def parse_winner(text: str, labels: Mapping[str, str] = _LABELS) -> Winner | None:
    """The winner that a text states, or None.

    Understood are ``[[A]]``, ``[[B]]``, ``[[C]]`` or ``[[tie]]``, ``[[A>B]]`` and its like,
    ``Better: first`` (winner, verdict) and a text that is nothing but the label.

    Args:
        text: what a critic generated.
        labels: winner to its word.
    """
    brackets: list[Winner | None] = [
        _BRACKETS.get(re.sub(r"\s", "", m[1]).upper()) for m in _BRACKET.finditer(text)
    ]
    if brackets:
        return _only(brackets)
    words = "|".join(map(re.escape, sorted(labels.values(), key=len, reverse=True)))
    winners: dict[str, Winner] = {
        labels["first"].lower(): "first",
        labels["second"].lower(): "second",
        labels["tie"].lower(): "tie",
    }
    for form in (
        rf"\b(?:better|winner|verdict)\b[\s:=*\"']*(?:is\b)?[\s:=*\"']*({words})(?!\w)"
        rf"(?!\s*(?:/|or|and)\s*(?:{words}))",
        rf"\A\s*({words})[\s.]*\Z",
    ):
        found: list[Winner | None] = [
            winners.get(m[1].lower()) for m in re.finditer(form, text, re.IGNORECASE)
        ]
        if found:
            return _only(found)
    return None


def _level(match: re.Match[str], rubric: Rubric) -> int | None:
    value, of = match["value"], match["of"]
    whole = _WHOLE.fullmatch(value) and (of is None or _WHOLE.fullmatch(of))
    if not whole or (of is not None and int(of) != rubric.high):
        return None
    level = int(value)
    return level if level in rubric.range else None


def _only(found: Iterable[Stated | None]) -> Stated | None:
    different = set(found)
    return different.pop() if len(different) == 1 else None
