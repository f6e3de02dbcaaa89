"""Rows on which arms disagree, a card each."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from edgecritic_bench.quantization.page.html import table, tag, words
from edgecritic_bench.quantization.words import (
    Report,
    decimals,
    number,
)


def sample_rows(report: Report) -> str:
    """Rows on which arms disagree."""
    if not report["samples"]:
        return ""
    cards = "".join(_card(sample) for sample in report["samples"])
    return (
        "<h2>Where arms disagree</h2>"
        + words(
            "The rows with the greatest disagreement, not typical ones. Reasons explain a verdict; "
            "they do not change it."
        )
        + tag("div", cards, "samples")
    )


def _card(sample: Mapping[str, Any]) -> str:
    pictures = "".join(f'<img src="{url}" alt="">' for url in sample["pictures"][:1])
    responses = sample["responses"]
    shape = "ol" if len(responses) > 1 else "ul"
    listed = tag(shape, "".join(tag("li", escape(text)) for text in responses))
    gold = sample["gold"] if isinstance(sample["gold"], str) else f"{sample['gold']:g}"
    text = tag("p", escape(sample["question"]), "q") + listed
    text += tag("p", f"gold: <b>{escape(gold)}</b> · {escape(sample['category'])}", "small")
    said = [
        [escape(name), _said(verdict), decimals(number(probability), 2)]
        for name, (verdict, probability) in sample["said"].items()
    ]
    heads = ["Arm", "Verdict", "Probability"]
    if all(probability is None for _, probability in sample["said"].values()):
        said, heads = [row[:2] for row in said], ["Arm", "Score"]
    reasons = "".join(
        f"<blockquote><b>{escape(name)}:</b> {escape(reason)}</blockquote>"
        for name, reason in sample["reasons"].items()
    )
    return tag(
        "div",
        tag("div", pictures + tag("div", text), "top") + table(heads, said) + reasons,
        "sample",
    )


def _said(verdict: object) -> str:
    if isinstance(verdict, str):
        return escape(verdict)
    return decimals(number(verdict), 2) if verdict is not None else "unread"
