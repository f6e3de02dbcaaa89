"""How long an engine's calls take on this machine, by what a layer of the critic looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from statistics import median
from time import perf_counter
from typing import Final, TypeAlias

import numpy as np

SIZES: Final = (1, 16, 64, 256, 512)
"""Tokens at once that are timed."""
PAST: Final = 1536
"""Tokens before the longest of them, in the run that shows what attention takes."""
SHALLOW: Final = 1
DEEP: Final = 4
"""Layers of the two models that are timed: what they differ by is what layers take."""
N_MATRICES: Final = 7
"""Of a layer."""
_ENOUGH_S: Final = 0.5
_REPEATS: Final = 7

Run: TypeAlias = Callable[[int, int], None]
"""Computes so many tokens behind so many others."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """A layer of a language model, as far as its time depends on it.

    Attributes:
        n_embd: width.
        n_ff: width of the feed-forward block.
        n_head: query heads.
        n_head_kv: key and value heads.
        head_dim: width of a head.
        types: a `Precision`; or tensor types of GGUF, one for each of `matrices`.
        adapter: matrices that have a LoRA: name, rank and tensor type.
    """

    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    head_dim: int
    types: tuple[str, ...]
    adapter: tuple[tuple[str, int, str], ...] = ()

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) by their names in GGUF."""
        queries, keys = self.n_head * self.head_dim, self.n_head_kv * self.head_dim
        return {
            "attn_q": (self.n_embd, queries),
            "attn_k": (self.n_embd, keys),
            "attn_v": (self.n_embd, keys),
            "attn_output": (queries, self.n_embd),
            "ffn_gate": (self.n_embd, self.n_ff),
            "ffn_up": (self.n_embd, self.n_ff),
            "ffn_down": (self.n_ff, self.n_embd),
        }

    @property
    def products(self) -> int:
        """Multiplications by its matrices for a token, adapters left out."""
        return sum(map(prod, self.matrices.values()))


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an engine.

    Attributes:
        n_tokens: computed at once.
        past: cells that they attend to besides themselves.
        rows: of logits that are read behind it.
    """

    n_tokens: int
    past: int
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of calls.

    Attributes:
        layer: of one layer without a past, for each of `SIZES`.
        besides: of all that is not layers, likewise, without the head.
        attention: of one layer for each token and each position before the call.
    """

    layer: tuple[float, ...]
    besides: tuple[float, ...]
    attention: float

    def of_layer(self, call: Call) -> float:
        """Seconds that one layer takes in a call."""
        own = float(np.interp(call.n_tokens, SIZES, self.layer))
        return own + self.attention * call.n_tokens * call.past

    def of_the_rest(self, call: Call) -> float:
        """Seconds that a call takes besides its layers, without the head."""
        return float(np.interp(call.n_tokens, SIZES, self.besides))


@dataclass(frozen=True, slots=True)
class PicturePace:
    """Seconds for each pixel of a picture's file.

    Attributes:
        first: until it is decoded, known and cut into tiles.
        again: until it is known to have been seen.
    """

    first: float
    again: float


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one model's calls: of `SIZES`, and of the largest behind `PAST` tokens."""

    fresh: tuple[float, ...]
    behind: float

    @classmethod
    def of(cls, run: Run) -> Times:
        """Time a model's calls."""
        fresh = tuple(typical(partial(run, n, 0)) for n in SIZES)
        return cls(fresh, typical(lambda: run(SIZES[-1], PAST)))


def pace_of(shallow: Times, deep: Times) -> Pace:
    """What layers take, from models of `SHALLOW` and `DEEP` of them."""
    more = DEEP - SHALLOW
    layer = _differences(deep.fresh, shallow.fresh, more)
    attention = (deep.behind - shallow.behind) / more - layer[-1]
    besides = (
        max(0.0, whole - SHALLOW * one) for whole, one in zip(shallow.fresh, layer, strict=True)
    )
    return Pace(layer, tuple(besides), max(0.0, attention) / (SIZES[-1] * PAST))


def _differences(deep: Sequence[float], shallow: Sequence[float], layers: int) -> tuple[float, ...]:
    """Seconds of a layer; at least half of what they were if all else took no time."""
    pairs = zip(deep, shallow, strict=True)
    return tuple(max((more - few) / layers, more / (2 * DEEP)) for more, few in pairs)


def typical(work: Callable[[], object]) -> float:
    """Seconds of the middle one of some runs; one before them, which warms up, does not count."""
    work()
    times: list[float] = []
    while not times or (sum(times) < _ENOUGH_S and len(times) < _REPEATS):
        begun = perf_counter()
        work()
        times.append(perf_counter() - begun)
    return median(times)
