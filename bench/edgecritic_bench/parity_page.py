"""A comparison of two engines as Markdown."""

from __future__ import annotations

from edgecritic_bench.features import FeatureParity
from edgecritic_bench.markdown import table
from edgecritic_bench.parity import (
    LIKELY,
    NOTABLE,
    QUANTILES,
    Parity,
    largest_unseen,
)
from edgecritic_bench.records import WINNERS
from edgecritic_bench.report_tables import NONE, written
from edgecritic_bench.statistics.intervals import Estimate
from edgecritic_bench.statistics.paired import Flips

_SHOWN = 0.01
"""Probabilities below it are left out of the list of worst rows."""


def parity_section(
    parity: Parity, features: FeatureParity | None, reference: str, other: str
) -> str:
    """A section with its own heading.

    Args:
        parity: of the verdicts.
        features: of the image features, if they were compared.
        reference: name of the reference.
        other: name of the other engine.
    """
    parts = [
        "## The same rows in another engine",
        f"Reference: {reference}. Compared with it: {other}. {parity.rows:,} verdicts that both "
        f"made, each order of a pair by itself; {parity.unread:,} could be read in one only, and "
        f"{parity.missing:,} records exist in one only.",
        "Absolute differences of the log-probabilities, in nats, over the outcomes that at least "
        f"one of the two gives more than {LIKELY:g}; below that, a difference in nats is large and "
        "means nothing.",
        _differences(parity),
        _agreements(parity),
        _flips(parity.flips) + _claim(parity),
    ]
    if features is not None:
        parts.append(_features(features))
    parts += ["The verdicts that differ most:", _worst(parity)]
    return "\n\n".join(parts)


def _differences(parity: Parity) -> str:
    heads = ["mean", *QUANTILES, "max"]
    rows = []
    for name, found in (("pairs", parity.pairwise), ("scores", parity.pointwise)):
        if found is not None:
            numbers = [f"{getattr(found, head):.4f}" for head in heads]
            rows.append([name, f"{found.n:,}", *numbers, f"{found.notable:.1%}"])
    return table(["", "outcomes", *heads, f"above {NOTABLE:g}"], rows)


def _agreements(parity: Parity) -> str:
    rows = [
        ["same winner, both orders reconciled, %", written(parity.same_winner)],
        ["same likeliest level, %", written(parity.same_level)],
        ["greatest difference of expected scores, levels", f"{parity.score_difference:.3f}"],
        ["divergence at the verdict, pairs, millinats", _millinats(parity.pairwise_kl)],
        ["divergence at the verdict, scores, millinats", _millinats(parity.pointwise_kl)],
    ]
    return table(["", ""], rows)


def _millinats(found: Estimate) -> str:
    values = (1000 * value for value in (found.value, found.low, found.high))
    return "{:.3f} ({:.3f} to {:.3f})".format(*values) if found.n else NONE


def _flips(flips: Flips) -> str:
    """Flips with their direction: equal accuracy may hide them."""
    if not flips.n:
        return "No pair was decided by the picture."
    told = (
        f"Of {flips.n:,} pairs decided by the picture, {flips.lost} went from right to wrong and "
        f"{flips.won} from wrong to right"
    )
    if flips.lost + flips.won:
        return f"{told} (exact McNemar test: p = {flips.p_value:.2g})."
    return (
        f"{told}. That leaves a true share of flips up to {largest_unseen(flips.n):.1%} possible "
        "(95%, rows taken as independent)."
    )


def _claim(parity: Parity) -> str:
    """What may be said of equivalence, refused where the sample is too small."""
    return "" if parity.claim is None else f"\n\n{parity.claim.words}"


def _features(found: FeatureParity) -> str:
    return (
        f"Image features of {found.images:,} pictures ({found.tokens:,} vectors): cosine at least "
        f"{found.min_cosine:.7f}, mean {found.mean_cosine:.7f}; greatest error of a number "
        f"{found.max_error:.4f}, where the numbers' root mean square is {found.rms:.3f}."
    )


def _worst(parity: Parity) -> str:
    rows = []
    for row in parity.worst:
        n = len(row.reference)
        names = WINNERS if n == len(WINNERS) else [str(level) for level in range(1, n + 1)]
        shown = [k for k in range(n) if max(row.reference[k], row.other[k]) >= _SHOWN]
        sides = [
            ", ".join(f"{names[k]}: {values[k]:.3f}" for k in shown)
            for values in (row.reference, row.other)
        ]
        rows.append([row.row, f"{row.difference:.3f}", *sides])
    return table(["verdict", "nats", "reference", "compared"], rows)
