"""Whether divergence orders quantized arms as their flips do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from edgecritic_bench.quantization.words import compared, number
from edgecritic_bench.statistics.correlation import spearman
from edgecritic_bench.statistics.intervals import NOTHING, Estimate

_LEAST_ARMS = 4
"""Quantized arms below which nothing is said of what predicts their flips."""


def prediction(arms: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Spearman's correlation with the share of changed winners, with its interval over arms.

    Args:
        arms: of a report, as `ArmResult.to_dict` has them.

    Returns:
        ``arms``, how many are quantized; ``verdict_kl`` over all of them; ``token_kl`` over those
        whose export was verified, and ``verdict_kl_there`` over the same.
    """
    told = [
        (
            number(pairs["changed"]["value"]),
            number(pairs["kl"]["value"]),
            number(arm["arm"]["token_kl"]),
        )
        for arm in arms
        if arm["arm"]["role"] == "quantized" and (pairs := compared(arm, "pairs"))
    ]
    verified = [one for one in told if math.isfinite(one[2])]
    return {
        "arms": len(told),
        "verdict_kl": asdict(_rank([kl for _, kl, _ in told], [flips for flips, *_ in told])),
        "token_kl": asdict(_rank([kl for *_, kl in verified], [flips for flips, *_ in verified])),
        "verdict_kl_there": asdict(
            _rank([kl for _, kl, _ in verified], [flips for flips, *_ in verified])
        ),
    }


def _rank(x: Sequence[float], y: Sequence[float]) -> Estimate:
    if len(x) < _LEAST_ARMS or not np.isfinite([x, y]).all():
        return NOTHING
    return spearman(np.array(x), np.array(y), np.arange(len(x)))
