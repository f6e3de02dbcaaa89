"""What an estimate is made of, and what all engines have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edgecritic.fit.duration import Work
from edgecritic.fit.workload import Picture, Workload
from edgecritic.vision import FeatureCache

# A picture is held as decoded (Pillow takes 4 bytes a pixel), as upright RGB, and as the plain
# bytes that it is hashed by.
_BYTES_A_PIXEL: Final = 4 + 4 + 3
_FEATURE_COPIES: Final = 2  # of the tiles, and packed; those in the cache come on top


@dataclass(frozen=True, slots=True)
class Probe:
    """What one kind of weights costs here.

    Attributes:
        base: bytes of a process that has loaded the engine and no model.
        word: bytes that one entry of a vocabulary takes, its merge included.
        resident: bytes in memory for each byte of such weights in a file, once they are loaded.
        loading: the same at the peak of loading.
    """

    base: int
    word: float
    resident: float
    loading: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What a critic costs.

    Attributes:
        ram: bytes by what they are for, at the peak of judging.
        vram: likewise, of a GPU; empty without one.
        loading: bytes of main memory at the peak of loading, where that is higher.
        work: what judging computes with.
    """

    ram: Mapping[str, int]
    work: Work
    vram: Mapping[str, int] = field(default_factory=dict)
    loading: int = 0

    @property
    def ram_peak(self) -> int:
        """The most bytes of main memory at once."""
        return max(sum(self.ram.values()), self.loading)


def picture_bytes(workload: Workload, picture: Picture, n_embd: int) -> int:
    """What a picture takes on its way to features, and what is kept of all of them."""
    features = picture.tokens * n_embd * 4
    kept = min(workload.pictures * features, FeatureCache().max_bytes)
    return workload.pixels * _BYTES_A_PIXEL + _FEATURE_COPIES * features + kept
