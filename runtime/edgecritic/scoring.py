"""From next-token logits to the probabilities of verdicts.

A verdict may take several tokens ("10" beside "1"), so the texts that state the verdicts are
tokenized whole and laid out as a token trie. What they share is forced; behind it, each branching
point needs one row of logits, and a verdict's probability is the product along its path. A path
ends where it is the only one left: "7" need not be spelled out once no other verdict starts so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecritic.backends.base import FloatArray
from edgecritic.errors import VerdictParseError

MIN_MASS = 0.5


@dataclass(frozen=True, slots=True)
class OutcomeTrie:
    """The verdicts that may be stated, as paths of tokens.

    Attributes:
        forced: tokens that all outcomes start with; they are appended to the prompt.
        paths: per outcome the tokens behind `forced` that tell it from all others.
        nodes: the branching points, as token runs behind `forced`; the first is ``()``. The
            model's logits are needed after each of them.
    """

    forced: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...]
    nodes: tuple[tuple[int, ...], ...]

    @classmethod
    def build(cls, answers: Sequence[Sequence[int]]) -> OutcomeTrie:
        """Lay out the outcomes' token ids, each with the text that follows the verdict.

        Raises:
            VerdictParseError: two outcomes are the same tokens, or one is the other's beginning.
        """
        texts = [tuple(answer) for answer in answers]
        n_forced = _common_length(texts)
        beginnings = Counter(text[:end] for text in texts for end in range(n_forced, len(text) + 1))
        paths = [_shortest_unique(text, beginnings, n_forced) for text in texts]
        nodes = sorted({path[:k] for path in paths for k in range(len(path))}, key=_by_length)
        return cls(texts[0][:n_forced], tuple(paths), tuple(nodes))

    def log_probs(self, logits: Sequence[FloatArray]) -> NDArray[np.float64]:
        """Joint log-probability of each outcome.

        Args:
            logits: for each of `nodes` the (n_vocab,) row after it.

        Returns:
            (n_outcomes,) float64; ``exp`` of them sums to at most 1.
        """
        rows = {node: log_softmax(row) for node, row in zip(self.nodes, logits, strict=True)}
        return np.array(
            [sum(rows[path[:k]][path[k]] for k in range(len(path))) for path in self.paths]
        )


def _by_length(node: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    return len(node), node


def _common_length(texts: Sequence[tuple[int, ...]]) -> int:
    first, last = min(texts), max(texts)
    for k, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return k
    raise VerdictParseError(
        "two verdicts are stated by the same tokens", "give each outcome its own words"
    )


def _shortest_unique(
    text: tuple[int, ...], beginnings: Mapping[tuple[int, ...], int], start: int
) -> tuple[int, ...]:
    for end in range(start + 1, len(text) + 1):
        if beginnings[text[:end]] == 1:
            return text[start:end]
    raise VerdictParseError(
        "one verdict's tokens are the beginning of another's", "put a terminator behind the verdict"
    )


def log_softmax(logits: FloatArray) -> NDArray[np.float64]:
    """(n,) log-probabilities in float64, shifted by the maximum first; NaN if that is infinite."""
    with np.errstate(invalid="ignore"):
        shifted = logits.astype(np.float64) - float(logits.max())
        return np.asarray(shifted - np.log(np.exp(shifted).sum()), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Probabilities over the outcomes of one verdict.

    Attributes:
        log_probs: (n,) float64, normalised over the outcomes.
        mass: what the model gave them before normalising, in [0, 1].
    """

    log_probs: NDArray[np.float64]
    mass: float

    @property
    def probs(self) -> NDArray[np.float64]:
        return np.asarray(np.exp(self.log_probs), dtype=np.float64)

    @property
    def readable(self) -> bool:
        """The outcomes hold at least half of the mass, and all of it is finite."""
        return bool(self.mass >= MIN_MASS and np.isfinite(self.log_probs).any())


def normalise(joint: NDArray[np.float64], temperature: float = 1.0) -> Distribution:
    """Outcome log-probabilities scaled by a calibration temperature and normalised.

    Args:
        joint: (n,) joint log-probabilities as `OutcomeTrie.log_probs` returns them.
        temperature: > 0; above 1 softens. Source: Guo et al., arXiv:1706.04599.
    """
    if np.isnan(joint).any():
        return Distribution(np.full(joint.shape, -np.log(len(joint))), 0.0)
    mass = float(min(1.0, np.exp(joint).sum()))
    scaled = joint / temperature
    top = scaled.max()
    if not np.isfinite(top):
        return Distribution(np.full(joint.shape, -np.log(len(joint))), 0.0)
    return Distribution(scaled - top - np.log(np.exp(scaled - top).sum()), mass)


def expected_level(distribution: Distribution, levels: Sequence[int]) -> float:
    """Probability-weighted level, in rubric units.

    Source: G-Eval, arXiv:2303.16634.
    """
    return float(distribution.probs @ np.asarray(levels, dtype=np.float64))
