"""The rows on which arms disagree most, in Markdown: verdicts and reasons; pictures are in HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgecritic_bench.quantization.sentences import explained, reason_words
from edgecritic_bench.quantization.words import Report, decimals, number

_SPECIAL = re.compile(r"([\\`*_<>\[\]|#~])")


def disagreement_lines(report: Report) -> Iterator[str]:
    """A section with its heading; nothing where arms agree."""
    if not report["samples"]:
        return
    yield from ("## Where arms disagree", "")
    yield "The rows with the greatest disagreement, not typical ones; their pictures are in the "
    yield f"HTML form. {reason_words(report)[0].upper()}{reason_words(report)[1:]}."
    yield ""
    for sample in report["samples"]:
        yield from _lines(sample)


def _lines(sample: Mapping[str, Any]) -> Iterator[str]:
    gold = sample["gold"] if isinstance(sample["gold"], str) else f"{sample['gold']:g}"
    yield f"**{_plain(sample['question'])}** ({_plain(sample['row'])}; gold: {_plain(gold)})"
    yield ""
    yield from (f"{k}. {_plain(text)}" for k, text in enumerate(sample["responses"], 1))
    yield ""
    groups: dict[str, list[str]] = {}
    for name, (verdict, _) in sample["said"].items():
        groups.setdefault(_said(verdict), []).append(name)
    yield from (f"- {said}: {_plain(', '.join(names))}" for said, names in groups.items())
    for names, reason in explained(sample):
        yield from ("", f"> {_plain(names)}: {_plain(reason)}")
    yield ""


def _said(verdict: object) -> str:
    if isinstance(verdict, str):
        return verdict
    return "unread" if verdict is None else f"about {decimals(number(verdict), 0)}"


def _plain(text: str) -> str:
    """Texts of strangers stay texts: in one line, and without a mark of Markdown or HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))
