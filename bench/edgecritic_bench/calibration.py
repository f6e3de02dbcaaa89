"""Temperatures and tie margin, fitted on judgements that no test split contains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgecritic import InputError
from edgecritic_bench.records import Record
from edgecritic_bench.tables import (
    TIE,
    Floats,
    Ints,
    log_softmax,
    pair_table,
    reconciled,
    score_table,
    winners,
)

_MIN_ROWS = 50
_SHARPEST, _SOFTEST = 0.05, 20.0
_END = 1e-3
"""How near to an end of its range, as a share, a fitted temperature is no more than that end."""
_GOLDEN = (5**0.5 - 1) / 2
_STEPS = 60
"""Golden-section steps: they narrow the range by more than float64 can tell apart."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What ``critic.json`` calls calibration, and where it comes from.

    Attributes:
        pointwise_temperature: divides the levels' log-probs.
        pairwise_temperature: divides the outcomes' log-probs.
        tie_margin: nats, behind the temperature; a smaller lead of one response is a tie.
        pointwise_rows: judgements behind the first.
        pairwise_rows: judgements behind the others.
        fitted_on: sha256 of each file of records.
    """

    pointwise_temperature: float = 1.0
    pairwise_temperature: float = 1.0
    tie_margin: float = 0.0
    pointwise_rows: int = 0
    pairwise_rows: int = 0
    fitted_on: tuple[str, ...] = ()


def fit(records: Sequence[Record], fitted_on: Sequence[str] = ()) -> Calibration:
    """Fit all three on the records with the right picture.

    Raises:
        InputError: too few rows of a setting.
    """
    pairs, scores = pair_table(records), score_table(records)
    pairs, scores = pairs.where(~pairs.blank), scores.where(~scores.blank)
    for name, rows in (("pairwise", len(pairs)), ("pointwise", len(scores))):
        if rows < _MIN_ROWS:
            raise InputError(
                f"{rows} readable {name} judgements are too few to calibrate on",
                f"judge at least {_MIN_ROWS} of each setting",
            )
    pairwise = fit_temperature(reconciled(pairs), pairs.gold)
    return Calibration(
        pointwise_temperature=fit_temperature(scores.log_probs, scores.gold - 1),
        pairwise_temperature=pairwise,
        tie_margin=fit_tie_margin(reconciled(pairs, pairwise), pairs.gold),
        pointwise_rows=len(scores),
        pairwise_rows=len(pairs),
        fitted_on=tuple(fitted_on),
    )


def log_loss(log_probs: Floats, gold: Ints, temperature: float = 1.0) -> float:
    """Mean negative log-probability of the gold outcomes, in nats.

    Args:
        log_probs: (n, k).
        gold: (n,) columns.
        temperature: divides the log-probs.
    """
    scaled = log_softmax(log_probs, temperature)
    return -float(scaled[np.arange(len(gold)), gold].mean())


def fit_temperature(log_probs: Floats, gold: Ints) -> float:
    """The temperature of greatest likelihood, within 0.05 to 20.

    The loss is convex in 1 / temperature, so it has one valley along any monotone axis.

    Args:
        log_probs: (n, k).
        gold: (n,) columns.

    Source: Guo et al., arXiv:1706.04599.
    """
    low, high = np.log(_SHARPEST), np.log(_SOFTEST)
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if log_loss(log_probs, gold, np.exp(left)) <= log_loss(log_probs, gold, np.exp(right)):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def determined(temperature: float) -> bool:
    """Whether rows have settled a temperature: at an end of its range they have not.

    Where the likeliest outcome is gold's on every row, the sharper the better without an end.
    """
    return _SHARPEST * (1 + _END) < temperature < _SOFTEST * (1 - _END)


def fit_tie_margin(log_probs: Floats, gold: Ints) -> float:
    """The margin with which most rows get their gold outcome; the least one, if several do.

    Raising the margin past a row's lead turns that row into a tie: it is gained if its gold is a
    tie, and lost if it was right before. So one pass over the sorted leads tries all margins.

    Args:
        log_probs: (n, 3) after the temperature.
        gold: (n,) FIRST, SECOND or TIE.
    """
    predicted = winners(log_probs)
    open_rows = predicted != TIE
    lead = np.abs(log_probs[open_rows, 0] - log_probs[open_rows, 1])
    order = np.argsort(lead)
    gain = (gold[open_rows] == TIE).astype(int) - (gold[open_rows] == predicted[open_rows])
    totals = np.concatenate([[0], np.cumsum(gain[order])])
    leads = lead[order]
    # A margin cannot part rows of the same lead.
    possible = np.concatenate([[True], np.diff(leads) > 0, [True]]) if len(leads) else [True]
    best = int(np.argmax(np.where(possible, totals, -len(gold))))
    if best == 0:
        return 0.0
    above = np.nextafter(leads[best - 1], np.inf)
    if best == len(leads):
        return float(above)
    # The middle of two neighbouring floats may be the lower one, which is not above itself.
    return float(max(above, (leads[best - 1] + leads[best]) / 2))


def file_digest(path: Path) -> str:
    """sha256 of a file, hex.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "check its name") from error


def save(calibration: Calibration, path: Path) -> None:
    """Write a calibration as JSON."""
    path.write_text(json.dumps(asdict(calibration), indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> Calibration:
    """Read what `save` wrote.

    Raises:
        InputError: it is no calibration.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        calibration = Calibration(**{**data, "fitted_on": tuple(data["fitted_on"])})
        usable = (
            min(calibration.pointwise_temperature, calibration.pairwise_temperature) > 0
            and calibration.tie_margin >= 0
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} is no calibration: {error}", "write it with: edgecritic bench calibrate"
        ) from error
    if not usable:
        raise InputError(
            f"{path}: temperatures must be above 0 and the tie margin at least 0",
            "write it again with: edgecritic bench calibrate",
        )
    return calibration
