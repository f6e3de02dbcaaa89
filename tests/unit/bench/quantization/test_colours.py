"""Colours that stand for different things are told apart with any colour vision."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from edgecritic_bench.quantization.page.figures import DRIFT_COLOURS
from edgecritic_bench.quantization.page.svg import BLUE, GREEN, ORANGE, PURPLE, VERMILION

# Severe deficiency, in linear RGB: G. M. Machado et al., IEEE TVCG 15 (2009), table of severity 1.
SIGHT = {
    "all cones": np.eye(3),
    "no long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998]],
    "no middle": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                  [-0.011820, 0.042940, 0.968881]],
    "no short": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                 [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
WHITE = TO_XYZ.sum(axis=1)


def lab(colour: str, sight: object) -> np.ndarray:
    """CIELAB of an sRGB colour as somebody sees it."""
    coded = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(sight) @ linear, 0, 1)
    f = np.cbrt(TO_XYZ @ seen / WHITE)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(
    "together", [(BLUE, ORANGE, GREEN, VERMILION, PURPLE), tuple(DRIFT_COLOURS.values())]
)
def test_colours_beside_each_other_are_told_apart(sight, together):
    seen = {colour: lab(colour, SIGHT[sight]) for colour in together}
    # A difference of about 2 is just seen; figures are small, so more is asked.
    near = {
        pair: distance
        for pair in combinations(together, 2)
        if (distance := np.linalg.norm(seen[pair[0]] - seen[pair[1]])) < 12
    }
    assert not near
