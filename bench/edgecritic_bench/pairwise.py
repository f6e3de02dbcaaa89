"""Pairwise agreement with gold, its controls, and the pull of the position."""

from __future__ import annotations

import numpy as np

from edgecritic_bench.calibration import Calibration
from edgecritic_bench.statistics.categorical import kappa
from edgecritic_bench.statistics.intervals import Estimate, mean, share
from edgecritic_bench.statistics.reliability import Reliability, brier, coverage, reliability
from edgecritic_bench.tables import (
    FIRST,
    SECOND,
    TIE,
    Floats,
    Ints,
    PairTable,
    reconciled,
    winners,
)
from edgecritic_bench.twins import clusters_of, twin_rows


def pairwise_estimates(pairs: PairTable, calibration: Calibration) -> dict[str, Estimate]:
    """Accuracy with and without ties, the controls, and the pull of the position."""
    right, blank = pairs.where(~pairs.blank), pairs.where(pairs.blank)
    decided, blind = right.where(right.decided), blank.where(blank.decided)
    text = right.where(~right.decided & (right.gold != TIE))
    lead = _lead(decided, calibration)
    sure = decided.where(lead >= np.median(lead)) if len(decided) else decided
    three_way = winners(reconciled(right, calibration.pairwise_temperature), calibration.tie_margin)
    return {
        "pairs": share(preference_hits(decided), decided.clusters),
        "twins": both_twins(decided),
        "covered_90": coverage(
            _confidence(right, calibration),
            (likeliest(right) == right.gold) * 1.0,
            0.9,
            right.clusters,
        ),
        "pairs_kappa": kappa(three_way, right.gold, TIE + 1, right.clusters),
        "pair_brier": brier(
            np.exp(reconciled(right, calibration.pairwise_temperature)), right.gold, right.clusters
        ),
        "sure_half": share(preference_hits(sure), sure.clusters),
        "pairs_ties": share((three_way == right.gold) * 1.0, right.clusters),
        "commonest": share((right.gold == _commonest(right)) * 1.0, right.clusters),
        "text_pairs": share(preference_hits(text), text.clusters),
        "blank": share(preference_hits(blind), blind.clusters),
        "lead_right": mean(lead, decided.clusters),
        "lead_blank": mean(_lead(blind, calibration), blind.clusters),
        "swapped": swapped_picture(decided),
        "consistent": share(consistent(right), right.clusters),
        "first_shown": mean(first_shown(right), right.clusters),
    }


def preference_hits(pairs: PairTable) -> Floats:
    """(n,) 1 where the likelier of first and second is gold's, a half where they are equal."""
    log_probs = reconciled(pairs)
    lead = log_probs[:, FIRST] - log_probs[:, SECOND]
    wanted = np.where(pairs.gold == FIRST, 1.0, -1.0)
    return np.asarray((np.sign(lead) * wanted + 1) / 2, dtype=np.float64)


def _lead(pairs: PairTable, calibration: Calibration) -> Floats:
    """(n,) |P(first) - P(second)|."""
    probs = np.exp(reconciled(pairs, calibration.pairwise_temperature))
    return np.asarray(np.abs(probs[:, FIRST] - probs[:, SECOND]), dtype=np.float64)


def likeliest(pairs: PairTable) -> Ints:
    """(n,) the likeliest of first, second and tie."""
    return np.asarray(reconciled(pairs).argmax(axis=1), dtype=np.int64)


def _confidence(pairs: PairTable, calibration: Calibration) -> Floats:
    """(n,) calibrated probability of the likeliest outcome."""
    log_probs = reconciled(pairs, calibration.pairwise_temperature)
    return np.asarray(np.exp(log_probs.max(axis=1, initial=-np.inf)), dtype=np.float64)


def _commonest(pairs: PairTable) -> int:
    """The outcome that a critic should name if it had to say the same every time."""
    return int(np.bincount(pairs.gold, minlength=TIE + 1).argmax())


def both_twins(decided: PairTable) -> Estimate:
    """Share of text pairs that are judged rightly on both pictures.

    A critic that does not look prefers the same text on both, and gets none of them.
    """
    on_a, on_b = twin_rows(decided)
    hits = preference_hits(decided)
    return share((hits[on_a] == 1) * (hits[on_b] == 1) * 1.0, clusters_of(decided, on_a))


def swapped_picture(decided: PairTable) -> Estimate:
    """Accuracy against a picture's gold when the critic was shown the item's other picture."""
    on_a, on_b = twin_rows(decided)
    hits = preference_hits(decided)
    shown, meant = np.concatenate([on_b, on_a]), np.concatenate([on_a, on_b])
    same_gold = decided.gold[shown] == decided.gold[meant]
    return share(np.where(same_gold, hits[shown], 1 - hits[shown]), clusters_of(decided, meant))


def consistent(pairs: PairTable) -> Floats:
    """(n,) 1 where both orders name the same winner, without a tie margin."""
    given, swapped = (winners(pairs.orders[:, order]) for order in (0, 1))
    return np.asarray((given == swapped) * 1.0, dtype=np.float64)


def first_shown(pairs: PairTable) -> Floats:
    """(n,) P(the response shown first wins | no tie), mean of both orders; a half is no bias."""
    leads = pairs.orders[:, :, FIRST] - pairs.orders[:, :, SECOND]
    odds = np.stack([leads[:, 0], -leads[:, 1]])
    # tanh keeps the logistic function from overflowing.
    return np.asarray(((1 + np.tanh(odds / 2)) / 2).mean(axis=0), dtype=np.float64)


def outcome_reliability(pairs: PairTable, temperature: float) -> Reliability:
    """Of the likeliest of first, second and tie, over all pairs."""
    log_probs = reconciled(pairs, temperature)
    hits = (log_probs.argmax(axis=1) == pairs.gold) * 1.0
    return reliability(np.exp(log_probs.max(axis=1, initial=-np.inf)), hits, pairs.clusters)
