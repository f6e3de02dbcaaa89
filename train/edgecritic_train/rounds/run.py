"""The rounds: answers, rankings, pairs, training, comparison, report; and again.

The folder holds ``run.json`` and ``config.yaml``, ``report.json`` and ``report.png``,
``answers.jsonl``, ``inside.jsonl`` and ``outside.jsonl`` (held-out questions, as the judge that is
learned from and the other one compare them), and for each round ``round-N`` with
``samples.jsonl``, ``rankings.jsonl``, ``choices.jsonl``, ``rows.jsonl``, ``report.json`` and
``dpo``, the folder of its training. Every ``.jsonl`` but the rows is only appended to. A round
counts as done when its report is there, which is written last. Pictures that stand in tables are
kept beside the folder.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from edgecritic.errors import BackendUnavailableError, InputError
from edgecritic_train.critic_data.rows import write_rows
from edgecritic_train.critic_data.writing import alone, write_bytes, write_json
from edgecritic_train.rounds.config import JudgeSettings, RoundsConfig, dpo_config, policy_config
from edgecritic_train.rounds.entries import Sample
from edgecritic_train.rounds.figure import draw_rounds
from edgecritic_train.rounds.judges import OpenJudge, judge_source, open_judge
from edgecritic_train.rounds.judging import chair, compare_all, rank_all
from edgecritic_train.rounds.questions import Question, fingerprint, read_questions
from edgecritic_train.rounds.report import (
    choice_facts,
    comparison_facts,
    judge_facts,
    sample_facts,
    training_facts,
)
from edgecritic_train.rounds.sampling import Asking, sample_all
from edgecritic_train.rounds.selecting import pair_rows, select
from edgecritic_train.rounds.sources import held_out_by_source, learned_by_source
from edgecritic_train.tuning.base import open_base
from edgecritic_train.tuning.failures import told_apart
from edgecritic_train.tuning.manifest import begin_run
from edgecritic_train.tuning.prepare import Tell

REPORT: Final = "report.json"
_REACHING: Final = ("parallel", "allow_http", "timeout")
_FREE: Final = (
    *(("rounds",), ("output",), ("questions", "workers"), ("checkpoints", "keep")),
    ("sampling", "batch"),
    *((judge, key) for judge in ("judge", "outside") for key in _REACHING),
)
"""Settings that may change between a start and the next: they decide how far, not what."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What all rounds share.

    Attributes:
        config: of the rounds.
        tell: is told what goes on.
        open_judge: loads judges.
        questions: all of them.
        dialect: of the rows' prompts, which pairs are not asked in.
    """

    config: RoundsConfig
    tell: Tell
    open_judge: OpenJudge
    questions: Sequence[Question]
    dialect: str
    learned: Sequence[Question] = field(init=False)
    held_out: Sequence[Question] = field(init=False)

    def __post_init__(self) -> None:
        learned = [q for q in self.questions if q.split != "test"]
        object.__setattr__(self, "learned", learned)
        object.__setattr__(self, "held_out", [q for q in self.questions if q.split == "test"])

    def folder(self, number: int) -> Path:
        """Of a round, counted from 1."""
        return self.config.output / f"round-{number}"

    def adapter(self, number: int) -> Path | None:
        """Of the policy after a round; 0 is the first policy."""
        return None if number == 0 else self.folder(number) / "dpo" / "adapter"


def run_rounds(config: RoundsConfig, tell: Tell, open_judge: OpenJudge = open_judge) -> Path:
    """Go through all rounds, or go on where an earlier process was stopped.

    Args:
        config: of the rounds.
        tell: is told what goes on.
        open_judge: loads judges.

    Returns:
        The folder of the last policy's adapter.

    Raises:
        CriticError: settings, questions, policy, judges or machine do not allow it.
    """
    from edgecritic_train.rounds.policy import dialect_of
    from edgecritic_train.tuning.adapters import check_start
    from edgecritic_train.tuning.arguments import check_machine

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise BackendUnavailableError(
            f"{os.environ['WORLD_SIZE']} processes were started, and rounds run in one",
            "start it without accelerate; rows.jsonl of a round can be trained on many GPUs by "
            "`accelerate launch -m edgecritic_train.tuning.dpo`",
        )
    _check_outside(config)
    tuning = policy_config(config, None)
    check_machine(tuning)
    base = open_base(tuning)
    check_start(tuning, base)
    pictures = config.output.with_name(f"{config.output.name}-pictures")
    questions = read_questions(config.questions, pictures, config.seed)
    rounds = Rounds(config, tell, open_judge, questions, dialect_of(base))
    splits = Counter(question.split for question in questions)
    if config.outside is not None and not rounds.held_out:
        raise InputError(
            "there is an outside judge, and no question of the split test",
            "raise questions.test, or leave outside out",
        )
    begin_run(config, {"questions": fingerprint(questions)}, _FREE)
    tell(", ".join(f"{count} questions for {split}" for split, count in sorted(splits.items())))
    with told_apart(config.output), alone(config.output, tell):
        for number in range(1, config.rounds + 1):
            _round(rounds, number)
    return config.output / f"round-{config.rounds}" / "dpo" / "adapter"


def _check_outside(config: RoundsConfig) -> None:
    """The judge of the comparison is another one than that which is learned from.

    Raises:
        InputError: it is the same.
    """
    if config.outside is None or judge_source(config.outside) != judge_source(config.judge):
        return
    raise InputError(
        f"outside is the judge that is learned from: {', '.join(judge_source(config.judge)[:2])}",
        "name another critic, or `truth: true` where questions have references",
    )


def _round(rounds: Rounds, number: int) -> None:
    from edgecritic_train.rounds.policy import release_memory
    from edgecritic_train.tuning.dpo import train_dpo

    config, folder, tell = rounds.config, rounds.folder(number), rounds.tell
    if (folder / REPORT).is_file():
        tell(f"round {number} is finished already")
        return
    tell(f"round {number} of {config.rounds}")
    start = rounds.adapter(number - 1)
    samples = _samples(rounds, number - 1, folder / "samples.jsonl")
    with chair(config.judge, rounds.open_judge) as seat:
        ranked = rank_all(seat, rounds.learned, samples, folder / "rankings.jsonl", tell)
    choices = select(ranked, config.selection, folder / "choices.jsonl")
    rows = folder / "rows.jsonl"
    by_id = {question.id: question for question in rounds.learned}
    judges = sorted({entry.judge for entry in ranked if entry.matches})
    write_rows(rows, pair_rows(choices, by_id, ", ".join(judges)))
    selection = choice_facts(choices, by_id)
    if not any(by_id[c.question].split == "train" for c in choices if not c.dropped):
        dropped = {name: n for name, n in selection["dropped"].items() if n}
        listed = ", ".join(f"{name} {n}" for name, n in dropped.items())
        cut = max(dropped, key=dropped.__getitem__, default="") == "unfinished"
        raise InputError(
            f"round {number}: no pair is left to learn from; left out: {listed}",
            "raise sampling.max_tokens: most answers had not ended by then"
            if cut
            else "ask more questions, or loosen the filters in selection",
        )
    release_memory()
    train_dpo(dpo_config(config, rows, folder / "dpo", start, rounds.dialect), tell)
    release_memory()
    facts = {
        "round": number,
        "sampling": sample_facts(samples, by_id),
        "judging": judge_facts(ranked, config, by_id),
        "selection": selection,
        "training": training_facts(folder / "dpo"),
        "inside": _compared(rounds, number, config.judge, "inside.jsonl"),
        "outside": _compared(rounds, number, config.outside, "outside.jsonl"),
        "sources": {
            "learned": learned_by_source(samples, ranked, choices, rounds.learned),
            "held_out": _held_out(rounds, number),
        },
    }
    _report(rounds, number, facts)


def _samples(rounds: Rounds, policy: int, path: Path) -> dict[str, list[Sample]]:
    from edgecritic_train.rounds.policy import Drawing, policy_identity

    config, sampling = rounds.config, rounds.config.sampling
    adapter = rounds.adapter(policy)
    drawing = Drawing(sampling.temperature, sampling.top_p, sampling.max_tokens)
    identity = policy_identity(config, adapter)
    asking = Asking(config, adapter, identity, drawing, sampling.responses)
    return sample_all(asking, rounds.learned, path, rounds.tell)


def _compared(
    rounds: Rounds, number: int, judge: JudgeSettings | None, journal: str
) -> dict[str, Any] | None:
    """What a judge says of the round's policy, beside the first one; None without one to ask."""
    if judge is None or not rounds.held_out:
        return None
    first, later = _answers(rounds, 0), _answers(rounds, number)
    with chair(judge, rounds.open_judge) as seat:
        path = rounds.config.output / journal
        found = compare_all(seat, rounds.held_out, later, first, path)
    facts = comparison_facts(found, later, rounds.held_out)
    before = comparison_facts((), first, rounds.held_out)
    return {**facts, "first": {key: before[key] for key in ("tokens", "right") if key in before}}


def _held_out(rounds: Rounds, number: int) -> dict[str, Any]:
    """Right answers of each source; empty where nothing is held out."""
    if not rounds.held_out:
        return {}
    return held_out_by_source(_answers(rounds, 0), _answers(rounds, number), rounds.held_out)


def _answers(rounds: Rounds, policy: int) -> dict[str, list[Sample]]:
    """One greedy answer to each held-out question."""
    from edgecritic_train.rounds.policy import Drawing, policy_identity

    config, adapter = rounds.config, rounds.adapter(policy)
    drawing = Drawing(0.0, 1.0, config.sampling.max_tokens)
    asking = Asking(config, adapter, policy_identity(config, adapter), drawing, 1)
    return sample_all(asking, rounds.held_out, config.output / "answers.jsonl", rounds.tell)


def _report(rounds: Rounds, number: int, facts: dict[str, Any]) -> None:
    """The figure and the list of all rounds first: the round's own report says that it is done."""
    earlier = [
        json.loads((rounds.folder(n) / REPORT).read_text(encoding="utf-8"))
        for n in range(1, number)
    ]
    done = [*earlier, facts]
    write_json(rounds.config.output / REPORT, {"rounds": done})
    if find_spec("matplotlib") is not None:
        write_bytes(rounds.config.output / "report.png", draw_rounds(done))
    write_json(rounds.folder(number) / REPORT, facts)
    kept = facts["selection"]["pairs"]
    outside = facts["outside"] or {}
    rate = outside.get("win_rate")
    compared = "" if rate is None else f", wins {rate:.0%} over the first policy"
    rounds.tell(f"round {number}: {kept} pairs{compared}")
