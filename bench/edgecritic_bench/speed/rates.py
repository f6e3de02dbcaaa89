"""Tokens a second, of ours and of llama.cpp's own calls: the same work on both sides."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any, Final

from edgecritic import Progress, ScoreRequest, Verdict
from edgecritic_bench.speed.engines.plain import Plain
from edgecritic_bench.speed.engines.runtime import Runtime
from edgecritic_bench.speed.tasks import QUESTION

_WORD: Final = "word "
_MOST_REASONS: Final = 16
"""A critic that says little is not asked for ever."""


def rates(engine: Runtime, lengths: list[int], tokens: int) -> dict[str, Any]:
    """Tokens a second through the public interface, one request at a time.

    A token that is written is timed from the one before it: that is decoded, and the next one
    chosen. What stands between the verdict and the reason is read in one batch, and the end of a
    reason is decoded and not counted, so all of it by its tokens (``whole``) is less.

    Args:
        engine: to measure.
        lengths: of texts to read, in words.
        tokens: to write behind each, in as many reasons as that takes.
    """
    return {"rates": [_rates(engine, length, tokens) for length in lengths]}


def _rates(engine: Runtime, length: int, tokens: int) -> dict[str, Any]:
    engine.critic.forget()
    text, steps = _WORD * length, list[float]()
    first = verdict = _judged(engine, text, tokens, steps)
    written, took = verdict.usage.rationale_tokens, verdict.timings.rationale
    for _ in range(1, _MOST_REASONS):
        if not steps or len(steps) >= tokens:
            break
        verdict = _judged(engine, text, tokens, steps)
        written += verdict.usage.rationale_tokens
        took += verdict.timings.rationale
    return {
        "prompt": first.usage.decoded_tokens,
        "prefill": first.usage.decoded_tokens / first.timings.verdict,
        "decode": len(steps) / sum(steps) if steps else None,
        "whole": written / took if written else None,
        "written": len(steps),
    }


def _judged(engine: Runtime, text: str, tokens: int, steps: list[float]) -> Verdict:
    """A verdict with its reason; the seconds of its tokens but the first are added to `steps`."""
    times: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, Progress) and event.stage == "token":
            times.append(time.perf_counter())

    # The last token that a reason may have ends it, and is not told of.
    request = ScoreRequest(None, QUESTION, text, max_rationale_tokens=tokens + 2)
    verdict = engine.critic.submit(request, on_event=listen).result()
    steps.extend(after - before for before, after in pairwise(times))
    return verdict


def plain(engine: Plain, lengths: list[int], tokens: int) -> dict[str, Any]:
    """The same by llama.cpp itself; lengths in tokens."""
    return {"rates": [engine.rates(length, tokens) for length in lengths]}
