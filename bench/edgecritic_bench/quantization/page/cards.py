"""Rows on which arms disagree, a card each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from html import escape
from typing import Any

from edgecritic_bench.quantization.arms import REFERENCE
from edgecritic_bench.quantization.page.figures import MANY
from edgecritic_bench.quantization.page.html import small, table, tag, words
from edgecritic_bench.quantization.samples import MOST_REASONS
from edgecritic_bench.quantization.sentences import explained, reason_words
from edgecritic_bench.quantization.words import (
    Report,
    decimals,
    number,
)

_ARMS = "Arms"


def sample_rows(report: Report) -> str:
    """Rows on which arms disagree."""
    if not report["samples"]:
        return ""
    cards = "".join(_card(sample) for sample in report["samples"])
    return (
        "<h2>Where arms disagree</h2>"
        + words(
            "The rows with the greatest disagreement, not typical ones. Reasons explain a verdict; "
            f"they do not change it. The reference and at most {MOST_REASONS} arms that disagree "
            "with it explain theirs."
        )
        + (words(f"{reason_words(report)}.") if report["reasons"]["missing"] else "")
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
    heads, said = _verdicts(sample["said"])
    reasons = "".join(
        f"<blockquote><b>{escape(names)}:</b> {escape(reason)}</blockquote>"
        for names, reason in explained(sample)
    )
    return tag(
        "div",
        tag("div", pictures + tag("div", text), "top") + _table(heads, said) + reasons,
        "sample",
    )


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return table(heads, rows, prose=[heads.index(_ARMS)] if _ARMS in heads else ())


def _verdicts(said: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: an arm each, or of many arms a verdict each, scores to their level."""
    scores = all(probability is None for _, probability in said.values())
    if len(said) > MANY:
        groups: dict[str, list[str]] = {}
        for name, (verdict, _) in said.items():
            told = f"{number(verdict):.0f}" if scores and verdict is not None else _said(verdict)
            groups.setdefault(told, []).append(name)
        return ["Score, about" if scores else "Verdict", _ARMS], [
            [told, small(_named(names, groups.values()))] for told, names in groups.items()
        ]
    rows = [
        [escape(name), _said(verdict), decimals(number(probability), 2)]
        for name, (verdict, probability) in said.items()
    ]
    if scores:
        return ["Arm", "Score"], [row[:2] for row in rows]
    return ["Arm", "Verdict", "Probability"], rows


def _named(names: list[str], groups: Collection[list[str]]) -> str:
    """Most arms of many are a number, so that those that differ stand out."""
    if len(names) <= MANY or names is not max(groups, key=len):
        return ", ".join(names)
    return f"{len(names)} arms{', the reference among them' if REFERENCE in names else ''}"


def _said(verdict: object) -> str:
    if isinstance(verdict, str):
        return escape(verdict)
    return decimals(number(verdict), 2) if verdict is not None else "unread"
