"""Kits that ask for numbers, or for yes or no."""

from __future__ import annotations

import re
from collections.abc import Callable

from edgecritic.server.jobs import Rank, Score
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

_ROLE = re.compile(r"\[End of (\w+) 1\]")
_TEN_IS_RIGHT = "Assume assistant 1 always receive a score of 10"


def two_scores(asked: Asked) -> Recognised | None:
    """Two scores from 1 to 10 on the first line.

    Source: LLaVA-Bench, as in lmms-eval, tasks/llava-in-the-wild/rule.json and llm_judge/prompt.py,
    tasks/llava_wilder/utils.py, and VLMEvalKit, dataset/utils/llavabench.py.
    """
    if "only two values indicating the scores" not in asked.user:
        return None
    role = _ROLE.search(asked.user)
    if role is None:
        return None
    name = role[1]
    found = between(
        asked.user,
        "[Question]\n",
        f"[{name} 1]\n",
        f"[End of {name} 1]",
        f"[{name} 2]\n",
        f"[End of {name} 2]",
        "[System]\n",
    )
    if found is None:
        return None
    question, first, _, second, _, _ = (part.strip() for part in found)
    context = between(asked.user, "[Context]\n", "[Question]\n")
    if context and context[0].strip():
        question = f"{question}\nWhat the picture shows: {context[0].strip()}"
    if _TEN_IS_RIGHT in asked.user:
        task = asked.question(question, reference=first)
        return Recognised("llava-wilder", Score(task, second, asked.reason), _against_ten)
    return Recognised(
        "llava-bench", Rank(asked.question(question), (first, second), "pointwise"), _both_scores
    )


def _against_ten(result: Result) -> Written:
    place = share(result)
    if place is None:
        return Written(UNREAD)
    return Written(_scored(place), before="10 ", after=_below(result["rationale"]))


def _both_scores(result: Result) -> Written:
    if result["status"] != "ok":
        return Written(UNREAD)
    first, second = (_scored(share(verdict) or 0.0) for verdict in result["verdicts"])
    return Written(f"{first} {second}", after="\nBoth are means of the critic's probabilities.")


def _scored(place: float) -> str:
    """On a scale from 1 to 10; the kits take one decimal."""
    return f"{1 + 9 * place:.1f}"


def _below(reason: str | None) -> str:
    return f"\n{reason}" if reason else ""


def correctness(asked: Asked) -> Recognised | None:
    """A number from 0.0 to 1.0 at the end of a table's row.

    Source: MM-Vet, as in lmms-eval, tasks/mmvet/utils.py, and VLMEvalKit, dataset/utils/mmvet.py.
    """
    if "Just complete the last space of the correctness score." not in asked.user:
        return None
    row = asked.user.rpartition("| 1.0\n")[2].strip()
    question, bar, rest = row.partition(" | ")
    truth, second_bar, response = rest.partition(" | ")
    if not (bar and second_bar and response.rstrip().endswith("|")):
        return None
    task = asked.question(question, reference=truth)
    job = Score(task, response.rstrip().removesuffix("|").strip(), asked.reason)

    def write(result: Result) -> Written:
        place = share(result)
        if place is None:
            return Written(UNREAD)
        return Written(f"{place:.1f}", reasoning=result["rationale"] or "")

    return Recognised("mm-vet", job, write)


_WORDS = re.compile(r"You must output (\S+) for fully correct answers and (\S+) for any other case")


def right_or_wrong(asked: Asked) -> Recognised | None:
    """1 or 0, or Yes or No, for an answer that is compared with the true one.

    Source: lmms-eval, llm_judge/prompt.py, BINARY_JUDGE_PROMPT.
    """
    words = _WORDS.search(asked.user)
    found = between(
        asked.user,
        "Question:\n```\n",
        "\n```\nGround Truth Answer:\n```\n",
        "\n```\nModel Prediction:\n```\n",
        "\n```\n\n# Evaluation Rules",
    )
    if words is None or found is None:
        return None
    question, truth, response, _ = found
    job = Score(asked.question(question, reference=truth), response, asked.reason)
    return Recognised("lmms-eval-binary", job, _either(words[1], words[2]))


_QUOTED = re.compile(r'Return only "(\w+)" if the solution is correct or "(\w+)"')


def solution(asked: Asked) -> Recognised | None:
    """Yes or No for a solution that is compared with the true answer.

    Source: lmms-eval, llm_judge/prompt.py, CORRECTNESS_JUDGE_PROMPT.
    """
    words = _QUOTED.search(asked.user)
    rule = "-" * 32 + "\n"
    found = between(asked.user, "Question: \n", f"{rule}Correct Answer:\n", f"{rule}Solution: \n")
    if words is None or found is None:
        return None
    question, truth, response = (part.strip().strip("-").strip() for part in found)
    job = Score(asked.question(question, reference=truth), response, asked.reason)
    return Recognised("lmms-eval-correctness", job, _either(words[1], words[2]))


def _either(right: str, wrong: str) -> Callable[[Result], Written]:
    def write(result: Result) -> Written:
        place = share(result)
        if place is None:
            return Written(UNREAD)
        halves = levels_of(result, 0, 1)
        odds = {right: halves.get("1", 0.0), wrong: halves.get("0", 0.0)}
        stated = right if place >= 0.5 else wrong
        return Written(stated, odds=odds, reasoning=result["rationale"] or "")

    return write
