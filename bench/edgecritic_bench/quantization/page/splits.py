"""Which data set suffers first."""

from __future__ import annotations

from html import escape

from edgecritic_bench.quantization.page.html import stacked, table, words
from edgecritic_bench.quantization.sentences import CHANGES, changed_in, sources_of, split_words
from edgecritic_bench.quantization.words import Report, estimate, name_of

_HEADS = {"winners": "winners changed, %", "scores": "scores moved, levels"}


def splits(report: Report) -> str:
    """What changed in each data set, arm by arm, and which of them leads; empty for one alone."""
    told = split_words(report)
    arms = [arm for arm in report["arms"][1:] if arm["reference"]]
    if not told:
        return ""
    names = sources_of(arms)
    columns = [
        (part, name)
        for part in CHANGES
        for name in names
        if any(changed_in(arm, name, part) for arm in arms)
    ]
    rows = [
        [
            escape(name_of(arm)),
            *(
                stacked(estimate(changed_in(arm, name, part), "share" if part == "winners" else ""))
                for part, name in columns
            ),
        ]
        for arm in arms
    ]
    heads = ["Arm", *(f"{name}: {_HEADS[part]}" for part, name in columns)]
    return "\n".join(["<h3>By data set</h3>", words(told), table(heads, rows)])
