"""What the server counts, as Prometheus reads it.

Source of the format: Prometheus, text-based exposition format, version 0.0.4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeAlias

Labels: TypeAlias = tuple[tuple[str, str], ...]
_PREFIX = "edgecritic_"
_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_COUNTERS: Mapping[str, str] = {
    "requests_total": "Requests answered, by path and status.",
    "judgements_total": "Jobs done, by model, kind and outcome.",
    "tokens_total": "Tokens, by model and whether they were read or written.",
    "rejected_total": "Requests refused because the queue was full.",
    "shared_total": "Requests that shared the computation of an identical one.",
    "cancelled_total": "Jobs stopped because nobody waited for them any more.",
    "loads_total": "Times that a model was loaded.",
    "worker_restarts_total": "Processes that ended in the middle of a job.",
    "recognised_total": "Chats recognised as the judge prompt of a known kit, by kit.",
}
_SECONDS = "judgement_seconds"


class Metrics:
    """Counters and one histogram; written from the event loop only."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[Labels, float]] = {
            name: defaultdict(float) for name in _COUNTERS
        }
        self._buckets: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = defaultdict(float)

    def count(self, counter: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._counts[counter][tuple(sorted(labels.items()))] += by

    def judged(self, model: str, kind: str, outcome: str, seconds: float) -> None:
        """Note a job that has ended."""
        self.count("judgements_total", model=model, kind=kind, outcome=outcome)
        labels = (("kind", kind), ("model", model))
        buckets = self._buckets.setdefault(labels, [0] * (len(_BUCKETS) + 1))
        buckets[next((k for k, le in enumerate(_BUCKETS) if seconds <= le), len(_BUCKETS))] += 1
        self._sums[labels] += seconds

    def used(self, model: str, usage: Mapping[str, int]) -> None:
        """Note the tokens of a job."""
        self.count("tokens_total", usage.get("prompt_tokens", 0), model=model, direction="read")
        written = usage.get("written_tokens", 0) + usage.get("rationale_tokens", 0)
        self.count("tokens_total", written, model=model, direction="written")

    @property
    def mean_seconds(self) -> float:
        """Of a job; 1 before there was any."""
        done = sum(map(sum, self._buckets.values()))
        return sum(self._sums.values()) / done if done else 1.0

    def text(self, gauges: Mapping[str, tuple[str, Mapping[Labels, float]]]) -> str:
        """Everything.

        Args:
            gauges: what is measured at this moment: by name its description and values.
        """
        lines: list[str] = []
        for name, help_text in _COUNTERS.items():
            lines += _family(name, help_text, "counter", self._counts[name].items())
        for name, (help_text, values) in gauges.items():
            lines += _family(name, help_text, "gauge", values.items())
        lines += [
            f"# HELP {_PREFIX}{_SECONDS} Seconds from a job's turn to its end.",
            f"# TYPE {_PREFIX}{_SECONDS} histogram",
        ]
        for labels, buckets in self._buckets.items():
            total = 0
            for le, n in zip((*map(str, _BUCKETS), "+Inf"), buckets, strict=True):
                total += n
                lines.append(_line(f"{_SECONDS}_bucket", (*labels, ("le", le)), total))
            lines.append(_line(f"{_SECONDS}_sum", labels, self._sums[labels]))
            lines.append(_line(f"{_SECONDS}_count", labels, total))
        return "\n".join(lines) + "\n"


def _family(
    name: str, help_text: str, kind: str, values: Iterable[tuple[Labels, float]]
) -> list[str]:
    head = [f"# HELP {_PREFIX}{name} {help_text}", f"# TYPE {_PREFIX}{name} {kind}"]
    return head + [_line(name, labels, value) for labels, value in values]


def _line(name: str, labels: Labels, value: float) -> str:
    listed = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{_PREFIX}{name}{{{listed}}} {value:g}" if listed else f"{_PREFIX}{name} {value:g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
