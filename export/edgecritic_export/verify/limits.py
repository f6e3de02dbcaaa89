"""How far an export may be from its checkpoint, by how many bits its weights have."""

from __future__ import annotations

from dataclasses import dataclass

from edgecritic import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """What an export must keep to.

    Attributes:
        cosine: least cosine between image features, any token of any picture.
        divergence: most KL divergence in nats, mean over positions.
        same_top: least share of positions whose likeliest token stays.
        log_prob: most difference of verdict log-probabilities in nats, mean.
        winners: least share of pairs that keep their winner, close calls left out.
        close: lead in nats below which a pair is a close call.
        sensitivity: most relative difference in how much another picture moves the verdict.
    """

    cosine: float
    divergence: float
    same_top: float
    log_prob: float
    winners: float
    close: float
    sensitivity: float


EXACT = Limits(0.9999, 1e-4, 0.99, 0.005, 0.995, 0.02, 0.02)
HALF = Limits(0.999, 0.005, 0.97, 0.03, 0.99, 0.1, 0.05)
EIGHT = Limits(0.999, 0.03, 0.93, 0.1, 0.97, 0.2, 0.1)
FOUR = Limits(0.999, 0.2, 0.8, 0.35, 0.9, 0.5, 0.25)
FEW = Limits(0.999, 0.8, 0.6, 0.8, 0.8, 1.0, 0.4)
"""KL and top tokens as llama.cpp's own quants show them on text (Q8_0 .005 and 96%, Q4_K_M .08 and
86%), with room for a critic's shorter, more decided texts."""

_BY_QUANT = {
    "F32": EXACT,
    **dict.fromkeys(("F16", "BF16"), HALF),
    **dict.fromkeys(("Q8_0", "Q6_K", "Q8"), EIGHT),
    **dict.fromkeys(("Q5_K_M", "Q4_K_M", "Q4_0", "Q4_1", "IQ4_XS", "Q4"), FOUR),
    **dict.fromkeys(("Q3_K_M", "Q2_K"), FEW),
}


def limits_of(quant: str) -> Limits:
    """The limits of a quant type of the language model, such as ``Q4_K_M``.

    Raises:
        InputError: no limits are stated for it.
    """
    try:
        return _BY_QUANT[quant.upper()]
    except KeyError:
        raise InputError(
            f"there are no limits for quant type {quant!r}", f"known: {', '.join(_BY_QUANT)}"
        ) from None
