"""Verdicts out of judges' texts, as each scorer reads them, mistakes included.

`edgecritic`'s own reading is stricter; it is not used here, because these are other people's rules.
"""

from __future__ import annotations

import re

from edgecritic_bench.protocols.replies import Reply, Shown
from edgecritic_bench.records import Winner

# The last "Answer N is better" behind the first of the two openings.
_OVERALL = re.compile(
    r"(?:Overall Judgment|Therefore).*Answer\s*(\d+)\s*is\s*(?:the\s*)?(?:slightly\s*)?better",
    re.IGNORECASE,
)
_FIVE = re.compile(r"\[\[([AB<>=]+)\]\]")


def overall_judgment(text: str) -> int | None:
    """VL-RewardBench's reading: the number of the better answer, which need not be 1 or 2."""
    match = _OVERALL.search(text.replace("\n", "").replace("*", ""))
    return int(match[1]) if match else None


def named_answer(text: str) -> int | None:
    """How the kits read what a language model extracted: "answer 1" wins over "answer 2"."""
    lowered = text.lower()
    return 1 if "answer 1" in lowered else 2 if "answer 2" in lowered else None


def bracketed_letter(text: str) -> str | None:
    """Multimodal RewardBench's reading: ``[[A]]`` anywhere wins over ``[[B]]``."""
    return "A" if "[[A]]" in text else "B" if "[[B]]" in text else None


def five_level(text: str) -> str | None:
    """WildVision-Bench's reading: a label such as ``A>>B``, if all that are stated are the same."""
    stated = set(_FIVE.findall(text))
    return stated.pop() if len(stated) == 1 else None


def shown_winner(reply: Reply) -> Winner | None:
    """The structured winner in the labels of what was shown."""
    return in_order(reply.winner, reply.shown)


def in_order(winner: Winner | None, shown: Shown) -> Winner | None:
    """A winner told in the other labels where the order was swapped, and back again."""
    if shown != "swapped" or winner in (None, "tie"):
        return winner
    return "second" if winner == "first" else "first"


def shown_number(reply: Reply) -> int | None:
    """1 or 2 from the structured winner; None for a tie or nothing."""
    winner = shown_winner(reply)
    return None if winner in (None, "tie") else 1 if winner == "first" else 2
