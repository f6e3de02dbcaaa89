"""Kits that grade by a rubric and want JSON."""

from __future__ import annotations

import json
import re

from edgecritic.server.jobs import Score
from edgecritic.server.kits.base import (
    UNREAD,
    Asked,
    Recognised,
    Result,
    Written,
    between,
    levels_of,
    share,
)

_RANGE = re.compile(r'`"score"`: an integer between (\d+) and (\d+)')
_SECTION = re.compile(
    r"^(Input|Actual Output|Expected Output|Context|Retrieval Context|Metadata|Tags|"
    r"Expected Tools|Tools Called):\n",
    re.MULTILINE,
)
_STRICT = "a `score` key that is STRICTLY EITHER 1"


def g_eval(asked: Asked) -> Recognised | None:
    """``{"reason": ..., "score": ...}`` by evaluation steps.

    Source: deepeval 4.3, metrics/g_eval/templates/generate_evaluation_results.txt and
    generate_strict_evaluation_results.txt.
    """
    limits = _RANGE.search(asked.user)
    if limits:
        low, high = int(limits[1]), int(limits[2])
        found = between(asked.user, "\nEvaluation Steps:\n", "Test Case:\n", "\nParameters:\n")
    elif _STRICT in asked.user:
        low, high = 0, 1
        found = between(asked.user, "\nEvaluation Steps:\n", "\n**\nIMPORTANT: Please make sure")
        if found is not None:
            start = _SECTION.search(found[0])
            cut = start.start() if start else len(found[0])
            found = [found[0][:cut], found[0][cut:], found[1]]
    else:
        return None
    if found is None or low >= high:
        return None
    fields = _fields(found[1])
    response = fields.pop("Actual Output", None)
    if response is None:
        return None
    asked_for = fields.pop("Input", "How good is this?")
    truth = fields.pop("Expected Output", None)
    more = "\n".join(f"{name}: {text}" for name, text in fields.items())
    criteria = f"{found[0].strip()}\n{more}".strip()
    task = asked.question(asked_for, reference=truth, criteria=criteria)

    def write(result: Result) -> Written:
        place = share(result)
        if place is None:
            return Written(UNREAD)
        odds = levels_of(result, low, high)
        stated = max(odds, key=lambda level: odds[level])
        reason = json.dumps(result["rationale"] or "No reason was asked for.")
        return Written(stated, f'{{"reason": {reason}, "score": ', "}", odds)

    return Recognised("g-eval", Score(task, response, asked.reason), write)


def _fields(text: str) -> dict[str, str]:
    """The parts of a test case; a part that is there twice makes it unreadable."""
    names = _SECTION.findall(text)
    parts = _SECTION.split(text)[2::2]
    found = {name: part.strip() for name, part in zip(names, parts, strict=True)}
    return found if len(found) == len(names) else {}


def llm_rubric(asked: Asked) -> Recognised | None:
    """``{"reason": ..., "pass": ..., "score": ...}``.

    Source: promptfoo 0.121, DEFAULT_GRADING_PROMPT.
    """
    if "grading output according to a user-specified rubric" not in asked.system + asked.user:
        return None
    found = between(asked.user, "<Output>\n", "\n</Output>\n<Rubric>\n", "\n</Rubric>")
    if found is None:
        return None
    response, rubric, _ = found
    task = asked.question(f"Is this true of the response: {rubric.strip()}", criteria=rubric)

    def write(result: Result) -> Written:
        place = share(result)
        if place is None:
            return Written(UNREAD)
        reason = json.dumps(result["rationale"] or "No reason was asked for.")
        passed = "true" if place >= 0.5 else "false"
        before = f'{{"reason": {reason}, "pass": {passed}, "score": '
        return Written(f"{place:.2f}", before, "}")

    return Recognised("promptfoo", Score(task, response, asked.reason), write)
