"""Judges side by side on one benchmark, as Markdown, and what may be said of their difference."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from edgecritic_bench.markdown import table
from edgecritic_bench.protocols.registry import Benchmark
from edgecritic_bench.protocols.scores import Score, clusters
from edgecritic_bench.statistics.equivalence import ParityClaim, claim_share_parity
from edgecritic_bench.statistics.intervals import Estimate

_NONE = "-"
_MIN_ITEMS = 2


def compared(scores: Mapping[str, Score], margin: float) -> dict[str, ParityClaim]:
    """What may be claimed of every judge against the first, on rows that count for both.

    Args:
        scores: by judge; headlines that are no shares of rows make no claim.
        margin: in shares.
    """
    (_, reference), *others = scores.items()
    before = {hit.key: hit for hit in reference.hits}
    claims = {}
    for name, score in others:
        after = {hit.key: hit for hit in score.hits}
        keys = [key for key in before if key in after]
        items = clusters(before[key] for key in keys) if keys else np.zeros(0, dtype=np.int64)
        columns = [np.array([side[key].value for key in keys]) for side in (before, after)]
        shares = all(np.isin(column, (0.0, 1.0)).all() for column in columns)
        if shares and len(np.unique(items)) >= _MIN_ITEMS:
            claims[name] = claim_share_parity(columns[0], columns[1], items, margin)
    return claims


def score_page(
    benchmark: Benchmark, scores: Mapping[str, Score], claims: Mapping[str, ParityClaim]
) -> str:
    """A section with its own heading.

    Args:
        benchmark: that was scored.
        scores: by judge.
        claims: of `compared`.
    """
    first = next(iter(scores.values()))
    names = list(dict.fromkeys(metric for score in scores.values() for metric in score.metrics))
    names.sort(key=lambda name: name != first.headline)
    rows = [
        [
            f"**{name}**" if name == first.headline else name,
            *(_written(score.metrics.get(name)) for score in scores.values()),
        ]
        for name in names
    ]
    rows.append(["rows", *(f"{score.rows:,}" for score in scores.values())])
    rows.append(["unread", *(f"{score.unread:,}" for score in scores.values())])
    lines = [
        f"## {benchmark.title}",
        "",
        f"Source: {benchmark.source}; licence of the data: {benchmark.licence}. "
        f"Protocol `{first.protocol}`. In brackets: 95% intervals over items.",
        "",
        table(["", *scores], rows),
        "",
        *(f"- {name}: {score.rules}." for name, score in scores.items()),
    ]
    if claims:
        reference = next(iter(scores))
        lines += ["", f"Against {reference}, row by row:", ""]
        lines += [f"- {name}: {_flips(claim)}{claim.words}" for name, claim in claims.items()]
    return "\n".join(lines) + "\n"


def _flips(claim: ParityClaim) -> str:
    if claim.flips is None:
        return ""
    return (
        f"{claim.flips.lost} right to wrong, {claim.flips.won} wrong to right "
        f"(exact McNemar p = {claim.flips.p_value:.2g}). "
    )


def _written(found: Estimate | None) -> str:
    if found is None or not math.isfinite(found.value):
        return _NONE
    if not math.isfinite(found.low):
        return f"{found.value:.3f}"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
