"""Corrections of scores that were fitted on a few labelled rows, and how sure a score is.

Three steps, each of which may do nothing: a bias is added to every level's log-probability, the
expected level goes through a monotone map, and an interval is laid around the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import ArtifactError
from edgecritic.strict_json import HINT, JsonObject

LogProbs: TypeAlias = NDArray[np.float64]
GRAIN = 0.5
"""Levels: a score is never surer than that, however sure its probabilities are."""
_MAX_BIAS = 20.0
_MAX_KNOTS = 64


@dataclass(frozen=True, slots=True)
class ScoreCalibration:
    """How scores of one rubric are corrected.

    Attributes:
        low: lowest level of the rubric that it was fitted for; others are left as they are.
        high: highest level.
        level_bias: (levels,) nats added to the levels' log-probabilities, ascending; empty for
            none.
        knots: (raw, corrected) expected levels, both ascending; between them the map is straight,
            beyond them it is flat. Empty for none.
        coverage: share of gold scores that intervals are meant to hold, in (0, 1).
        width: spreads of the levels' probabilities on each side of a score that its interval
            takes; 0 for no intervals.
        rows: labelled rows behind it.
        fingerprint: sha256 of them.
    """

    low: int
    high: int
    level_bias: tuple[float, ...] = ()
    knots: tuple[tuple[float, float], ...] = ()
    coverage: float = 0.9
    width: float = 0.0
    rows: int = 0
    fingerprint: str = ""

    def applies_to(self, levels: Sequence[int]) -> bool:
        """Whether a rubric is the one that it was fitted for."""
        return (levels[0], levels[-1]) == (self.low, self.high)

    def biased(self, log_probs: LogProbs) -> LogProbs:
        """(levels,) log-probabilities with the bias, not normalised."""
        return log_probs + np.array(self.level_bias) if self.level_bias else log_probs

    def mapped(self, score: float) -> float:
        """An expected level after the monotone map, within the rubric."""
        if not self.knots:
            return score
        raw, corrected = zip(*self.knots, strict=True)
        return float(np.interp(score, raw, corrected))

    def interval(self, score: float, probabilities: LogProbs) -> tuple[float, float] | None:
        """Where the gold score is to be expected, within the rubric; None without intervals.

        Args:
            score: after the map.
            probabilities: (levels,) of the levels.

        Source: split conformal prediction with residuals that are normalised by a spread,
            H. Papadopoulos et al., Inductive confidence machines for regression (2002).
        """
        if not self.width:
            return None
        half = self.width * spread(probabilities, self.low)
        return max(float(self.low), score - half), min(float(self.high), score + half)

    def to_dict(self) -> dict[str, object]:
        """JSON-ready form that `from_json` reads back."""
        return asdict(self) | {
            "level_bias": list(self.level_bias),
            "knots": [list(knot) for knot in self.knots],
        }

    @classmethod
    def from_json(cls, data: JsonObject) -> ScoreCalibration:
        """Read the form that `to_dict` writes.

        Raises:
            ArtifactError: a value is out of range, or the lists do not fit the rubric.
        """
        found = cls(
            low=data.integer("low", 0, 1000),
            high=data.integer("high", 1, 1000),
            level_bias=_numbers(data, "level_bias"),
            knots=tuple(_knot(data, entry) for entry in _list(data, "knots")),
            coverage=data.number("coverage", 0.0),
            width=data.number("width", 0.0),
            rows=data.integer("rows", 0, 1 << 40),
            fingerprint=data.text("fingerprint", r"[0-9a-f]{64}"),
        )
        found.check(data.where)
        return found

    def check(self, where: str) -> None:
        """Raise ArtifactError where the numbers make no calibration."""
        raw, corrected = ([knot[side] for knot in self.knots] for side in (0, 1))
        n_levels = self.high - self.low + 1
        problems: Mapping[str, bool] = {
            "its levels do not ascend": self.low >= self.high,
            "level_bias is not of its levels": len(self.level_bias) not in (0, n_levels),
            "level_bias is out of range": any(abs(bias) > _MAX_BIAS for bias in self.level_bias),
            "knots do not ascend": raw != sorted(set(raw)) or corrected != sorted(corrected),
            "knots leave the rubric": any(not self.low <= c <= self.high for c in corrected),
            "there are too many knots": len(self.knots) > _MAX_KNOTS,
            "coverage is not between 0 and 1": not 0 < self.coverage < 1,
        }
        for problem, there in problems.items():
            if there:
                raise ArtifactError(f"{where}: {problem}", HINT)


def spread(probabilities: LogProbs, low: int) -> float:
    """Standard deviation of the levels' probabilities, and half a level on top."""
    levels = low + np.arange(len(probabilities))
    mean = float(probabilities @ levels)
    return GRAIN + float(np.sqrt(max(0.0, float(probabilities @ (levels - mean) ** 2))))


def _list(data: JsonObject, key: str) -> list[object]:
    value = data.raw(key)
    if not isinstance(value, list):
        raise ArtifactError(f"{data.where}: {key} is no list", HINT)
    return value


def _numbers(data: JsonObject, key: str) -> tuple[float, ...]:
    return tuple(_number(data, key, value) for value in _list(data, key))


def _number(data: JsonObject, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArtifactError(f"{data.where}: {key} holds something that is no number", HINT)
    return float(value)


def _knot(data: JsonObject, entry: object) -> tuple[float, float]:
    if not isinstance(entry, list) or len(entry) != 2:
        raise ArtifactError(f"{data.where}: a knot is no pair of numbers", HINT)
    raw, corrected = (_number(data, "knots", value) for value in entry)
    return raw, corrected
