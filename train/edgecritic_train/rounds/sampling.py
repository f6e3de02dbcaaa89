"""The first stage: the policy answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgecritic.errors import ContextOverflowError
from edgecritic.progress import Tell
from edgecritic_train.critic_data.journal import Journal
from edgecritic_train.critic_data.templates import stable_number
from edgecritic_train.rounds.config import RoundsConfig
from edgecritic_train.rounds.entries import Ranked, Sample, content_key, sample_journal
from edgecritic_train.rounds.questions import Question

if TYPE_CHECKING:
    from edgecritic_train.rounds.policy import Drawing

_TOLD_EVERY = 50


@dataclass(frozen=True, slots=True)
class Asking:
    """Who is asked, and how.

    Attributes:
        config: of the rounds.
        adapter: of the policy, or None.
        policy: its identity.
        drawing: of tokens.
        repeats: answers to each question.
    """

    config: RoundsConfig
    adapter: Path | None
    policy: str
    drawing: Drawing
    repeats: int

    def keys(self, question: Question) -> list[str]:
        """A key for each answer to a question."""
        from edgecritic_train.tuning.pairs import SYSTEM

        asked = [SYSTEM, question.content, self.drawing.facts, self.config.seed]
        return [content_key("sample", self.policy, asked, k) for k in range(self.repeats)]


def sample_all(
    asking: Asking, questions: Sequence[Question], path: Path, tell: Tell
) -> dict[str, list[Sample]]:
    """All answers, by the question's id; those that are in the journal are not drawn again.

    The policy is loaded only where an answer is missing.

    Raises:
        CriticError: the policy cannot be loaded, a picture cannot be used, or the disk is full.
    """
    from edgecritic_train.rounds.policy import release_memory

    with sample_journal(path) as journal:
        missing = [q for q in questions if any(journal.get(key) is None for key in asking.keys(q))]
        if missing:
            tell(f"the policy answers {len(missing)} questions")
            _draw(asking, missing, journal, tell)
            release_memory()
        found = {}
        for question in questions:
            entries = [journal.get(key) for key in asking.keys(question)]
            found[question.id] = [entry for entry in entries if entry is not None]
        return found


def _draw(
    asking: Asking, questions: Sequence[Question], journal: Journal[Sample], tell: Tell
) -> None:
    from edgecritic_train.rounds.policy import loaded_policy

    done = 0
    with loaded_policy(asking.config, asking.adapter) as policy:
        missing = [
            (question, [key for key in asking.keys(question) if journal.get(key) is None])
            for question in questions
        ]
        lengths = {question.id: policy.prompt_tokens(question) for question in questions}
        # The longest first: what does not fit is found at once. Neighbours are padded the least.
        missing.sort(key=lambda asked: -lengths[asked[0].id])
        _check_room(missing[0][0], lengths, policy.context, asking.drawing.max_tokens)
        size = asking.config.sampling.batch
        for asked in (missing[k : k + size] for k in range(0, len(missing), size)):
            seeds = [[stable_number(key) >> 1 for key in keys] for _, keys in asked]
            found = policy.answers([question for question, _ in asked], asking.drawing, seeds)
            for (question, keys), answers in zip(asked, found, strict=True):
                for key, answer in zip(keys, answers, strict=True):
                    sample = (answer.text, answer.tokens, answer.ended)
                    journal.append(Sample(key, question.id, asking.policy, *sample))
            if (done + len(asked)) // _TOLD_EVERY > done // _TOLD_EVERY:
                tell(f"{done + len(asked)}/{len(questions)} questions answered")
            done += len(asked)


def _check_room(
    longest: Question, lengths: Mapping[str, int], context: int | None, answer: int
) -> None:
    if context is not None and (needed := lengths[longest.id] + answer) > context:
        raise ContextOverflowError(
            f"question {longest.id} and an answer of {answer} tokens take {needed} positions, and "
            f"the base was made for {context}",
            "lower sampling.max_tokens or images.max_tokens",
        )


@dataclass(slots=True)
class Gathered:
    """The different answers to a question.

    Attributes:
        texts: in the order of their first occurrence.
        counts: how often each occurred.
        tokens: of each.
    """

    texts: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)


def gathered(samples: Sequence[Sample]) -> Gathered:
    """The answers that came to an end; what was cut off is no answer to learn from."""
    found = Gathered()
    for sample in samples:
        if not sample.ended:
            continue
        if sample.text in found.texts:
            found.counts[found.texts.index(sample.text)] += 1
            continue
        found.texts.append(sample.text)
        found.counts.append(1)
        found.tokens.append(sample.tokens)
    return found


def to_rank(question: Question, samples: Sequence[Sample], judge: str, name: str) -> Ranked:
    """What a judge is asked of a question's answers, without its verdicts."""
    answers = gathered(samples)
    facts = [question.content, answers.texts, answers.counts]
    return Ranked(
        key=content_key("ranked", judge, facts),
        question=question.id,
        outcome="ok",
        judge=name,
        responses=tuple(answers.texts),
        counts=tuple(answers.counts),
        tokens=tuple(answers.tokens),
    )
