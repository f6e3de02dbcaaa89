"""What the embedded critic was meant to reach, and how a measurement stands to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecritic_bench.agreement import agreement
from edgecritic_bench.calibration import Calibration
from edgecritic_bench.records import Record
from edgecritic_bench.statistics.intervals import Estimate

OBJECT_KINDS = ("object", "category", "presence", "list")
"""Question types that ask which things a picture shows."""


@dataclass(frozen=True, slots=True)
class Target:
    """A range that a metric was meant to lie in.

    Attributes:
        text: what is measured, in words.
        split: on which split.
        metric: name in `Agreement.estimates`.
        low: least value.
        high: greatest value.
        kinds: question types that count; empty for all.
    """

    text: str
    split: str
    metric: str
    low: float
    high: float
    kinds: tuple[str, ...] = ()

    @property
    def wanted(self) -> str:
        """The range in words, percent where it is a share."""
        if self.metric.endswith("ece"):
            return f"at most {self.high:g}"
        if self.high >= 1:
            return f"at least {self.low:.0%}"
        return f"{self.low:.0%} to {self.high:.0%}"

    def standing(self, found: Estimate) -> str:
        """Whether it was reached, and whether the interval lies on the same side."""
        if not found.n:
            return "not measured"
        met = self.low <= found.value <= self.high
        inside = self.low <= found.low and found.high <= self.high
        outside = found.high < self.low or found.low > self.high
        if met:
            return "met" if inside else "met, but the interval reaches beyond"
        return "missed" if outside else "missed, but the interval reaches it"


TARGETS: tuple[Target, ...] = (
    Target("Pairs, without ties", "T0", "pairs", 0.94, 1.0),
    Target("Pairs, without ties", "T1", "pairs", 0.85, 1.0),
    Target("The same, questions about objects only", "T1", "pairs", 0.78, 1.0, OBJECT_KINDS),
    Target("The same, naming a single object only", "T1", "pairs", 0.78, 1.0, ("object",)),
    Target("Blank picture, pairs without ties", "T0", "blank", 0.45, 0.55),
    Target("Blank picture, pairs without ties", "T1", "blank", 0.45, 0.55),
    Target("Right picture beats wrong picture", "T0", "right_beats_wrong", 0.90, 1.0),
    Target("Right picture beats wrong picture", "T1", "right_beats_wrong", 0.82, 1.0),
    Target("Both orders agree", "T0", "consistent", 0.90, 1.0),
    Target("Both orders agree", "T1", "consistent", 0.90, 1.0),
    Target("Calibration error, pairs", "T0", "pair_ece", 0.0, 0.05),
    Target("Calibration error, scores", "T0", "level_ece", 0.0, 0.05),
)


def measured(target: Target, records: Sequence[Record], calibration: Calibration) -> Estimate:
    """The target's metric on its rows."""
    rows = [
        record
        for record in records
        if record.place.split == target.split
        and (not target.kinds or record.place.kind in target.kinds)
    ]
    return agreement(rows, calibration).estimates[target.metric]
