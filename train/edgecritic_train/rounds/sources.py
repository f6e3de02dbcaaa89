"""A round in numbers by the source of its questions, such as a type of question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from edgecritic_train.rounds.entries import Choice, Ranked, Sample
from edgecritic_train.rounds.judges import is_right
from edgecritic_train.rounds.questions import Question
from edgecritic_train.rounds.report import choice_facts, one_right, share_right

Answers: TypeAlias = Mapping[str, Sequence[Sample]]


def learned_by_source(
    samples: Answers,
    ranked: Sequence[Ranked],
    choices: Sequence[Choice],
    questions: Iterable[Question],
) -> dict[str, dict[str, Any]]:
    """What was learned from: right answers, and whether the critic tells them from wrong ones.

    Args:
        samples: by the question's id.
        ranked: the critic's verdicts.
        choices: what became of each question.
        questions: that were learned from; those that name no source are passed over.

    Returns:
        For each source the number of ``questions``, the share of ``sampled_right`` answers, the
        ``pairs`` learned from, of them ``chosen_right`` and ``rejected_right``, and ``one_right``
        as `edgecritic_train.rounds.report.judge_facts` has it.
    """
    found = {}
    for source, own in _grouped(questions).items():
        asked = [(s.text, own[key]) for key in own for s in samples.get(key, ())]
        kept = choice_facts([choice for choice in choices if choice.question in own], own)
        matches = [(e, m) for e in ranked if e.question in own for m in e.matches]
        found[source] = {
            "questions": len(own),
            "sampled_right": share_right(asked),
            **{key: kept[key] for key in ("pairs", "chosen_right", "rejected_right")},
            "one_right": one_right(matches, own),
        }
    return found


def held_out_by_source(
    first: Answers, later: Answers, questions: Iterable[Question]
) -> dict[str, dict[str, int]]:
    """Right answers to held-out questions, before and after.

    Args:
        first: of the first policy, by the question's id, one each.
        later: of a later one.
        questions: those without a reference or a source are passed over.

    Returns:
        For each source the number of ``questions``, how many answers are ``right`` and were
        ``first_right``, and how many ``became_right`` and ``became_wrong``.
    """
    found = {}
    for source, own in _grouped(q for q in questions if q.reference is not None).items():
        right = [
            (
                is_right(first[key][0].text, str(q.reference)),
                is_right(later[key][0].text, str(q.reference)),
            )
            for key, q in own.items()
        ]
        found[source] = {
            "questions": len(right),
            "first_right": sum(before for before, _ in right),
            "right": sum(after for _, after in right),
            "became_right": right.count((False, True)),
            "became_wrong": right.count((True, False)),
        }
    return found


def _grouped(questions: Iterable[Question]) -> dict[str, dict[str, Question]]:
    """Questions by their ids, by their sources."""
    found: dict[str, dict[str, Question]] = {}
    for question in questions:
        if question.source:
            found.setdefault(question.source, {})[question.id] = question
    return dict(sorted(found.items()))
