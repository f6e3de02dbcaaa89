"""Two engines' observations of the same rows as a table of checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from edgecritic import InputError
from edgecritic_export.verify.limits import Limits
from edgecritic_export.verify.observe import Observation

Array = NDArray[np.float64]
_LIKELY = 1e-3
"""Outcomes below this probability in the reference are not compared: nobody acts on them."""
_FAINT = 1e-6
"""Nats; a reference that another picture moves less than this does not look at pictures."""


@dataclass(frozen=True, slots=True)
class Check:
    """One property of an export.

    Attributes:
        name: what was measured.
        value: the measurement; for what holds or does not, whether it does; None where there was
            nothing to measure.
        limit: in words, such as ``>= 0.99``.
        passed: whether it keeps to the limit.
    """

    name: str
    value: float | bool | None
    limit: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Verification:
    """How an export compares with its checkpoint.

    Attributes:
        rows: pairs judged.
        checks: all that was measured.
    """

    rows: int
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, object]:
        """For ``critic.json``."""
        return {
            "passed": self.passed,
            "rows": self.rows,
            "checks": [asdict(check) for check in self.checks],
        }


def table(checks: Sequence[Check]) -> str:
    """Checks as a Markdown table."""
    lines = ["| check | measured | limit | |", "|---|---|---|---|"]
    for check in checks:
        mark = "pass" if check.passed else "**fail**"
        lines.append(f"| {check.name} | {_worded(check.value)} | {check.limit} | {mark} |")
    return "\n".join(lines) + "\n"


def _worded(value: float | bool | None) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "yes" if value else "no"
        case _:
            return f"{value:.6g}"


def compare(
    reference: Sequence[Observation], export: Sequence[Observation], limits: Limits
) -> Verification:
    """Hold an export's observations against the reference's.

    Args:
        reference: of the checkpoint.
        export: of the exported files, on the same rows.
        limits: what must be kept.

    Raises:
        InputError: there are no rows, or not the same number of them.
    """
    if not reference or len(reference) != len(export):
        raise InputError(
            f"there are {len(reference)} rows of the reference and {len(export)} of the export",
            "let both see the same rows",
        )
    pairs = list(zip(reference, export, strict=True))
    finite = all(
        np.isfinite(array).all()
        for seen in export
        for array in (seen.features, seen.logits, seen.verdict, seen.other)
    )
    checks = [
        _holds("prompts of the same tokens", "all", _same(pairs, "tokens")),
        _holds("finite numbers only", "all", finite),
        _holds("shapes of features and logits", "equal", _same_shapes(pairs)),
    ]
    if all(check.passed for check in checks):
        checks += [*_of_features(pairs, limits), *_of_logits(pairs, limits)]
        checks += [*_of_verdicts(pairs, limits), _sensitivity(pairs, limits)]
    return Verification(len(pairs), tuple(checks))


Pairs = Sequence[tuple[Observation, Observation]]


def _same(pairs: Pairs, name: str) -> bool:
    return all(getattr(one, name) == getattr(two, name) for one, two in pairs)


def _same_shapes(pairs: Pairs) -> bool:
    return all(
        one.features.shape == two.features.shape and one.logits.shape == two.logits.shape
        for one, two in pairs
    )


def _holds(name: str, limit: str, found: bool) -> Check:
    return Check(name, found, limit, found)


def _at_least(name: str, value: float, limit: float) -> Check:
    return Check(name, value, f">= {limit:g}", value >= limit)


def _at_most(name: str, value: float, limit: float) -> Check:
    return Check(name, value, f"<= {limit:g}", value <= limit)


def _of_features(pairs: Pairs, limits: Limits) -> list[Check]:
    cosines = [cosine(one.features, two.features) for one, two in pairs if len(one.features)]
    if not cosines:
        return []
    worst = float(np.concatenate(cosines).min())
    return [_at_least("image features, smallest cosine", worst, limits.cosine)]


def cosine(one: NDArray[np.float32], two: NDArray[np.float32]) -> Array:
    """(n,) cosines between the rows of two (n, d) arrays; two rows of zeros agree."""
    a, b = np.float64(one), np.float64(two)
    norms = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    product = norms[0] * norms[1]
    both_zero = (norms[0] == 0) & (norms[1] == 0)
    return np.where(both_zero, 1.0, (a * b).sum(1) / np.where(product == 0, 1.0, product))


def log_softmax(logits: NDArray[np.float32]) -> Array:
    """(n, vocab) logits to log-probabilities."""
    shifted = np.float64(logits) - np.max(logits, axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def _of_logits(pairs: Pairs, limits: Limits) -> list[Check]:
    divergences, tops = [], []
    for one, two in pairs:
        p, q = log_softmax(one.logits), log_softmax(two.logits)
        divergences.append((np.exp(p) * (p - q)).sum(-1))
        tops.append(p.argmax(-1) == q.argmax(-1))
    mean = float(np.concatenate(divergences).mean())
    same = float(np.concatenate(tops).mean())
    return [
        _at_most("next tokens, mean KL divergence (nats)", mean, limits.divergence),
        _at_least("next tokens, same likeliest one", same, limits.same_top),
    ]


def _of_verdicts(pairs: Pairs, limits: Limits) -> list[Check]:
    differences, kept = [], []
    for one, two in pairs:
        likely = one.verdict - np.logaddexp.reduce(one.verdict) > math.log(_LIKELY)
        differences.append(np.abs(one.verdict - two.verdict)[likely])
        if abs(lead(one.verdict)) >= limits.close:
            kept.append(np.sign(lead(one.verdict)) == np.sign(lead(two.verdict)))
    mean = float(np.concatenate(differences).mean())
    checks = [_at_most("verdicts, mean log-probability difference", mean, limits.log_prob)]
    name = f"verdicts, same winner (leads of {limits.close:g} nats and more)"
    if kept:
        checks.append(_at_least(name, float(np.mean(kept)), limits.winners))
    else:
        checks.append(Check(name, None, f">= {limits.winners:g}", passed=True))
    return checks


def lead(verdict: Array) -> float:
    """Nats by which the first response leads the second."""
    return float(verdict[0] - verdict[1])


def _sensitivity(pairs: Pairs, limits: Limits) -> Check:
    """How much of the reference's reaction to another picture the export shows."""
    one = np.array([lead(seen.verdict) - lead(seen.other) for seen, _ in pairs])
    two = np.array([lead(seen.verdict) - lead(seen.other) for _, seen in pairs])
    name = "another picture moves the verdict, share of the reference's move"
    low, high = 1 - limits.sensitivity, 1 + limits.sensitivity
    if np.abs(one).max() < _FAINT:
        return Check(f"{name} (which does not look)", None, f"{low:g} to {high:g}", passed=False)
    share = float(one @ two / (one @ one))
    return Check(name, share, f"{low:g} to {high:g}", low <= share <= high)
