"""How evaluation kits read answers: their rules, restated.

Each raises, or returns None, where the kit would count the answer as unreadable or guess. The
rules' sources are named in ``tests/fixtures/kit_requests.jsonl``; ``scripts/kit_requests.py``
reads answers by the kits' own code.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Body = Mapping[str, Any]


def content(body: Body) -> str:
    text: str = body["choices"][0]["message"]["content"]
    return text.strip()


def only_label(body: Body) -> str | None:
    """One label between double brackets, and no other one."""
    found = set(re.findall(r"\[\[([AB<>=]+)\]\]", content(body)))
    return found.pop() if len(found) == 1 else None


def better_answer(body: Body) -> int | None:
    """The number behind an overall judgment."""
    plain = content(body).replace("\n", "").replace("*", "")
    form = (
        r"(?:Overall Judgment|Therefore).*Answer\s*(\d+)\s*is\s*(?:the\s*)?(?:slightly\s*)?better"
    )
    found = re.search(form, plain, re.IGNORECASE)
    return int(found[1]) if found else None


def two_first(body: Body) -> tuple[float, float] | None:
    """Two numbers on the first line, and nothing else there."""
    parts = content(body).split("\n")[0].replace(",", " ").split(" ")
    return (float(parts[0]), float(parts[1])) if len(parts) == 2 else None


def unit_number(text: str) -> float | None:
    return float(text) if 0 <= float(text) <= 1 else None


def weighted_score(body: Body) -> float:
    """The score's tokens, weighted by their probabilities if those are above one percent."""
    verdict = json.loads(content(body))
    assert isinstance(verdict["reason"], str)
    tokens = body["choices"][0]["logprobs"]["content"]
    token = next(t for t in reversed(tokens) if t["token"] == str(verdict["score"]))
    shares = {
        int(other["token"]): math.exp(other["logprob"])
        for other in token["top_logprobs"]
        if other["token"].isdecimal() and other["logprob"] >= math.log(0.01)
    }
    return sum(level * share for level, share in shares.items()) / sum(shares.values())


def rubric_grade(body: Body) -> float:
    verdict = json.loads(content(body))
    assert isinstance(verdict["pass"], bool)
    assert isinstance(verdict["reason"], str)
    return float(verdict["score"])


PARSERS: Mapping[str, Callable[[Body], object]] = {
    "wild_vision_bench": only_label,
    "wildvision": only_label,
    "vl_rewardbench": better_answer,
    "answer_number": lambda body: {"answer 1": 1, "answer 2": 2}[content(body).lower()],
    "multimodal_rewardbench": lambda body: {"[[A]]": "A", "[[B]]": "B"}[content(body)],
    "llava_wilder": two_first,
    "llavabench": two_first,
    "comparative": two_first,
    "lmms_mmvet": lambda body: unit_number(content(body).split(" ")[0]),
    "vlmeval_mmvet": lambda body: unit_number(content(body)),
    "binary": lambda body: {"0": 0, "1": 1}[content(body)],
    "yes_no": lambda body: {"Yes": True, "No": False}[content(body)],
    "anything": lambda body: content(body) or None,
    "g_eval": weighted_score,
    "g_eval_strict": lambda body: {0: 0, 1: 1}[json.loads(content(body))["score"]],
    "steps": lambda body: list(json.loads(content(body))["steps"]),
    "rating": lambda body: int(json.loads(content(body))["rating"]),
    "llm_rubric": rubric_grade,
    "verdict": lambda body: {"right": 1, "wrong": 0}[json.loads(content(body))["verdict"]],
}
