"""Best against worst, where the critic is to be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from edgecritic_train.critic_data.rows import CriticRow
from edgecritic_train.critic_data.templates import stable_number
from edgecritic_train.rounds.config import SelectionSettings
from edgecritic_train.rounds.entries import Choice, Ranked, choice_journal, content_key
from edgecritic_train.rounds.questions import Question
from edgecritic_train.rounds.rewards import beaten, rewards

FILTERS = (
    *("unfinished", "duplicates", "unjudged", "tie", "margin", "cycle", "length"),
    "length balance",
)
"""In the order in which they are asked."""


def choose(ranked: Ranked, settings: SelectionSettings) -> Choice:
    """The best and the worst answer, or the filter that stopped them.

    Of equal rewards, those by probabilities decide, then the order of drawing.
    """
    base = Choice(content_key(ranked.key, asdict(settings)), ranked.question)
    if sum(ranked.counts) < 2:
        return replace(base, dropped="unfinished")
    if len(ranked.responses) < 2:
        return replace(base, dropped="duplicates")
    if ranked.outcome != "ok":
        return replace(base, dropped="unjudged")
    found, sure = rewards(ranked, settings.reward), rewards(ranked, "probabilities")
    places = sorted(range(len(found)), key=lambda k: (-found[k], -sure[k], k))
    best, worst = places[0], places[-1]
    choice = replace(
        base,
        chosen=ranked.responses[best],
        rejected=ranked.responses[worst],
        rewards=(found[best], found[worst]),
        tokens=(ranked.tokens[best], ranked.tokens[worst]),
    )
    return replace(choice, dropped=_stopped(choice, ranked, best, worst, settings))


def _stopped(
    choice: Choice, ranked: Ranked, best: int, worst: int, settings: SelectionSettings
) -> str:
    pair = {best, worst}
    winners = [match.winner for match in ranked.matches if {match.i, match.j} == pair]
    if choice.margin <= 0 or winners == ["tie"]:
        return "tie"
    if choice.margin < settings.margin:
        return "margin"
    if settings.cycles and best in beaten(len(ranked.responses), ranked.matches)[worst]:
        return "cycle"
    if max(choice.tokens) > settings.length_ratio * min(choice.tokens):
        return "length"
    return ""


def balanced(choices: Sequence[Choice], longer_share: float) -> list[Choice]:
    """The choices, with those dropped that make the longer answer win too often.

    Where critics like long answers, a policy learns length. Pairs of the smallest margins go first.
    """
    longer = [c for c in choices if not c.dropped and c.tokens[0] > c.tokens[1]]
    others = sum(not c.dropped for c in choices) - len(longer)
    if longer_share == 1 or len(longer) <= longer_share * (len(longer) + others):
        return list(choices)
    allowed = int(longer_share * others / (1 - longer_share))
    longer.sort(key=lambda choice: (-choice.margin, choice.key))
    gone = {choice.key for choice in longer[allowed:]}
    return [replace(c, dropped="length balance") if c.key in gone else c for c in choices]


def select(ranked: Sequence[Ranked], settings: SelectionSettings, path: Path) -> list[Choice]:
    """What becomes of each question, written down where it is not yet.

    Raises:
        ArtifactError: the disk is full.
    """
    choices = balanced([choose(entry, settings) for entry in ranked], settings.longer_share)
    with choice_journal(path) as journal:
        for choice in choices:
            if journal.get(choice.key) != choice:
                journal.append(choice)
    return choices


def pair_rows(
    choices: Sequence[Choice], questions: Mapping[str, Question], judge: str
) -> list[CriticRow]:
    """The pairs as rows; which place the better answer has is drawn."""
    rows = []
    for choice in choices:
        if choice.dropped:
            continue
        question = questions[choice.question]
        first = stable_number("place", choice.key) % 2 == 0
        pair = (choice.chosen, choice.rejected)
        rows.append(
            CriticRow(
                id=question.id,
                setting="pairwise",
                question=question.text,
                responses=pair if first else (pair[1], pair[0]),
                verdict="first" if first else "second",
                images=question.images,
                source="preference rounds",
                judge=judge,
                group=question.group,
                split=question.split,
            )
        )
    return rows
