"""Random choices over a numpy Generator, and generators that are seeded by name.

Everything the engine draws comes from a generator made here, so an item depends on its
(split, seed, index) only, never on the process or on what was drawn before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def stable_seed(*parts: str | int) -> int:
    """A 63-bit seed that is the same on every machine and Python (unlike `hash`)."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*parts: str | int) -> np.random.Generator:
    """A generator seeded from the given parts."""
    return np.random.Generator(np.random.PCG64(stable_seed(*parts)))


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, evenly."""
    return options[int(rng.random() * len(options))]


def any_of(rng: np.random.Generator, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One picture of a stack (n, height, width)."""
    picture: NDArray[np.uint8] = pictures[int(rng.random() * len(pictures))]
    return picture


def weighted(rng: np.random.Generator, weights: Mapping[T, float]) -> T:
    """One of the keys, in proportion to its weight."""
    mark = rng.random() * sum(weights.values())
    for option, weight in weights.items():
        mark -= weight
        if mark < 0:
            return option
    return option


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability (0..1)."""
    return bool(rng.random() < probability)


def whole(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number in low..high, both included."""
    return low + int(rng.random() * (high - low + 1))


def spread(rng: np.random.Generator, low: float, high: float) -> float:
    """A number in [low, high)."""
    return low + (high - low) * float(rng.random())


def shuffled(rng: np.random.Generator, options: Sequence[T]) -> list[T]:
    """The options in random order."""
    return [options[i] for i in rng.permutation(len(options))]


def sample(rng: np.random.Generator, options: Sequence[T], count: int) -> list[T]:
    """`count` different options, in random order."""
    return [options[i] for i in rng.permutation(len(options))[:count]]
