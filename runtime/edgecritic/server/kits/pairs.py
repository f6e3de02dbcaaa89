"""Kits that ask which of two answers is better."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from edgecritic.server.jobs import Compare
from edgecritic.server.kits.base import UNREAD, Asked, Recognised, Result, Written, between

# From here on a lead counts as a large one, where a kit tells them apart.
_CLEARLY = 0.8
Label = Callable[[dict[str, float]], str]


def five_way(asked: Asked) -> Recognised | None:
    """``[[A>>B]]`` to ``[[B>>A]]``.

    Source: WildVision-Bench, as in lmms-eval, tasks/wild_vision_bench/utils.py, and VLMEvalKit,
    dataset/wildvision.py; the form is that of Arena-Hard.
    """
    if "[[A>>B]]" not in asked.system + asked.user:
        return None
    found = between(
        asked.user,
        "<|User Prompt|>\n",
        "<|The Start of Assistant A's Answer|>\n",
        "<|The End of Assistant A's Answer|>",
        "<|The Start of Assistant B's Answer|>\n",
        "<|The End of Assistant B's Answer|>",
    )
    if found is None:
        return None
    question, first, _, second, _ = found
    form = _Form("arena", _five_labels, "[[", "]]")
    return _recognised(form, asked, question, first, second)


def _five_labels(shares: dict[str, float]) -> str:
    best = max(shares, key=lambda outcome: shares[outcome])
    if best == "tie":
        return "A=B"
    sign = ">>" if shares[best] >= _CLEARLY else ">"
    return f"A{sign}B" if best == "first" else f"B{sign}A"


def two_way(asked: Asked) -> Recognised | None:
    """``[[A]]``, ``[[B]]``, and ``[[C]]`` for a tie where it is offered.

    Source: MT-Bench's pair-v2 prompt, as in Multimodal RewardBench,
    scripts/1_run_model_as_judge_gpt4o.py.
    """
    instructions = asked.system + asked.user
    if not all(label in instructions for label in ('"[[A]]"', '"[[B]]"')):
        return None
    found = between(
        asked.user,
        "[User Question]\n",
        "[The Start of Assistant A's Answer]\n",
        "[The End of Assistant A's Answer]",
        "[The Start of Assistant B's Answer]\n",
        "[The End of Assistant B's Answer]",
    )
    if found is None:
        return None
    question, first, _, second, _ = found
    names = {"first": "A", "second": "B"} | ({"tie": "C"} if '"[[C]]"' in instructions else {})
    form = _Form("mt-bench", _best_of(names), "[[", "]]")
    return _recognised(form, asked, question, first, second)


def numbered(asked: Asked) -> Recognised | None:
    """An overall judgment: ``Answer 1 is better.``.

    Source: VL-RewardBench, as in lmms-eval, tasks/vl_rewardbench/utils.py, and VLMEvalKit,
    dataset/vl_rewardbench.py.
    """
    if "Overall Judgment: Answer X is better" not in asked.user:
        return None
    found = between(
        asked.user,
        "answers is better.\n\nQuestion: ",
        "\n\nAnswer 1: ",
        "\n\nAnswer 2: ",
        "\n\nPlease evaluate both answers based on the following criteria",
    )
    if found is None:
        return None
    question, first, second, _ = found
    label = _best_of({"first": "1", "second": "2"})
    form = _Form("vl-rewardbench", label, "Overall Judgment: Answer ", " is better.")
    return _recognised(form, asked, question, first, second)


_STATED = re.compile(r"Answer\s*([12])\s*is\s*(?:the\s*)?(?:slightly\s*)?better", re.IGNORECASE)


def stated_answer(asked: Asked) -> Recognised | None:
    """The second question of VL-RewardBench: which answer does this judgement prefer?

    It is no judgement but an extraction, and is answered only if the text is plain.

    Source: VLMEvalKit, dataset/vl_rewardbench.py, LLM_PARSE_ANSWER_PROMPT.
    """
    if "Return the Answer X ONLY" not in asked.user:
        return None
    found = between(asked.user, "You are given a pairwise judgement", "Judgement: ")
    stated = set(_STATED.findall(found[1])) if found else set()
    if len(stated) != 1:
        return None
    answer = Written(f"Answer {stated.pop()}")
    return Recognised("vl-rewardbench-answer", None, lambda _result: answer)


def _best_of(names: dict[str, str]) -> Label:
    def label(shares: dict[str, float]) -> str:
        return names[max(names, key=lambda outcome: shares[outcome])]

    return label


@dataclass(frozen=True, slots=True)
class _Form:
    """How a kit wants a pair's verdict: its label, between two texts."""

    kit: str
    label: Label
    before: str
    after: str


def _recognised(form: _Form, asked: Asked, question: str, first: str, second: str) -> Recognised:
    task = asked.question(question)
    job = Compare(task, first.strip(), second.strip(), "both", asked.reason)
    label = form.label

    def write(result: Result) -> Written:
        if result["winner"] is None:
            return Written(UNREAD)
        shares = dict(result["probabilities"])
        stated = label(shares)
        # What one outcome alone would be called, so that the odds are of labels.
        odds: dict[str, float] = {}
        for outcome, probability in shares.items():
            name = label({other: float(other == outcome) for other in shares})
            odds[name] = odds.get(name, 0.0) + probability
        return Written(stated, form.before, form.after, odds, result["rationale"] or "")

    return Recognised(form.kit, job, write)
