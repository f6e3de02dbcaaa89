"""How far a judge's probabilities are from the reference's: at the verdict, and at every token.

All in nats, of the reference against the other: what is lost by taking the other's probabilities
for the reference's.
"""

from __future__ import annotations

import numpy as np

from edgecritic_bench.statistics.intervals import Estimate, mean
from edgecritic_bench.tables import Floats, Ints

_LEAST = np.finfo(np.float64).tiny


def kl(reference: Floats, other: Floats) -> Floats:
    """(n,) Kullback-Leibler divergences, 0 or more.

    Args:
        reference: (n, k) log-probabilities, normalised.
        other: (n, k) likewise.
    """
    probabilities = np.exp(reference)
    # Where the reference gives nothing, nothing is lost, whatever the other gives.
    gaps = np.where(probabilities > 0, reference - other, 0.0)
    return np.asarray(np.maximum(0.0, (probabilities * gaps).sum(axis=1)), dtype=np.float64)


def verdict_kl(
    reference: Floats, other: Floats, masses: tuple[Floats, Floats], clusters: Ints
) -> Estimate:
    """Mean divergence at the verdict; see `verdict_divergences`.

    Args:
        reference: (n, k) log-probabilities of the outcomes, normalised among them.
        other: likewise.
        masses: (n,) probability of all outcomes together, of the reference and of the other.
        clusters: (n,) item numbers.
    """
    return mean(verdict_divergences(reference, other, masses), clusters)


def verdict_divergences(reference: Floats, other: Floats, masses: tuple[Floats, Floats]) -> Floats:
    """(n,) divergences at the verdict, with everything that is no verdict as one more outcome.

    Args:
        reference: (n, k) log-probabilities of the outcomes, normalised among them.
        other: likewise.
        masses: (n,) probability of all outcomes together, of the reference and of the other.
    """
    whole = [_with_rest(part, mass) for part, mass in zip((reference, other), masses, strict=True)]
    return kl(*whole)


def _with_rest(log_probs: Floats, mass: Floats) -> Floats:
    held, rest = (np.log(np.maximum(part, _LEAST)) for part in (mass, 1 - mass))
    return np.concatenate([log_probs + held[:, None], rest[:, None]], axis=1)


def token_kl(reference: Floats, other: Floats, clusters: Ints) -> Estimate:
    """Mean divergence of next-token distributions: the usual measure of a quantization.

    Args:
        reference: (n, vocab) logits.
        other: (n, vocab) likewise, at the same positions.
        clusters: (n,) number of the text that each position belongs to.
    """
    return mean(kl(_log_softmax(reference), _log_softmax(other)), clusters)


def _log_softmax(logits: Floats) -> Floats:
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float64)
