"""Texts of a row that give its verdict away, contradict it, or would act as control tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from edgecritic.parsing import parse_level, parse_winner
from edgecritic.remote.messages import defused
from edgecritic_train.critic_data.rows import CriticRow
from edgecritic_train.critic_data.validation.findings import Kind

LEAK = Kind(
    "label-leak",
    "warning",
    "a question, response, reference or criterion states a verdict, and it is the row's own",
    "cut the statement out of the text, or leave the row out",
)
STATED = Kind(
    "stated-verdict",
    "warning",
    "a question or response states a verdict in the form that critics answer in",
    "look at them: they teach the critic to be talked into a verdict, or against it",
)
CONTRADICTED = Kind(
    "reason-contradicts",
    "warning",
    "the reason states another verdict than the row",
    "correct one of them, or leave the row out",
)
NO_REASON = Kind(
    "no-reason",
    "note",
    "there is no reason: only the verdict is learned",
    "have a teacher explain them: edgecritic train data build --known",
)
CONTROL = Kind(
    "control-tokens",
    "warning",
    "a text holds what is a control token of some model, such as <image> or <|im_end|>",
    "nothing for this project's training, which reads them as plain characters; clean them "
    "before you train elsewhere",
)
INVISIBLE = Kind(
    "control-characters",
    "warning",
    "a text holds characters that cannot be seen or printed",
    "clean the texts",
)
EMPTY = Kind("empty-response", "note", "a response is empty", "legal; see that it is meant")
# A bare number or word is an ordinary answer; a verdict is announced.
_ANNOUNCED = re.compile(
    r"\[\[[^\]\n]{1,12}\]\]|\b(?:final\s+score|score|rating|verdict|winner|better(?:\s+response)?)"
    r"\s*\**\s*[:=]\s*\**\s*\[?\s*(?:\d|first|second|tie|[AB]\b)",
    re.IGNORECASE,
)
_SPOKEN = re.compile(
    r"\b(first|second) (?:response|answer) is (?:clearly |much |slightly |the )?better\b",
    re.IGNORECASE,
)


def text_findings(row: CriticRow) -> Iterator[Kind]:
    """What is wrong with the texts of a row."""
    inputs = [row.question, *row.responses, row.reference or "", row.rubric.criteria or ""]
    stated = [text for text in inputs if _ANNOUNCED.search(text)]
    if any(_states(text, row) for text in stated):
        yield LEAK
    elif stated:
        yield STATED
    if _contradicts(row):
        yield CONTRADICTED
    if not row.reason.strip():
        yield NO_REASON
    texts = [*inputs, row.reason]
    if any(defused(text) != text for text in texts):
        yield CONTROL
    if any(_invisible(text) for text in texts):
        yield INVISIBLE
    if not all(response.strip() for response in row.responses):
        yield EMPTY


def _states(text: str, row: CriticRow) -> bool:
    if row.setting == "pairwise":
        return parse_winner(text) == row.verdict
    return parse_level(text, row.rubric) == row.verdict


def _contradicts(row: CriticRow) -> bool:
    if row.setting == "pointwise":
        if not _ANNOUNCED.search(row.reason):
            return False
        level = parse_level(row.reason, row.rubric)
        return level is not None and level != row.verdict
    spoken = {match[1].casefold() for match in _SPOKEN.finditer(row.reason)}
    winner = parse_winner(row.reason) if _ANNOUNCED.search(row.reason) else None
    told = spoken | ({winner} if winner else set())
    return len(told) == 1 and told != {row.verdict}


def _invisible(text: str) -> bool:
    return not text.isprintable() and any(
        unicodedata.category(char) == "Cc" and char not in "\n\r\t" for char in text
    )
