"""Draws at the edges of what may be asked for."""

from __future__ import annotations

import numpy as np
import pytest

from edgecritic.judging.choosing import Chooser, Taste
from edgecritic.judging.generation import choose

LOGITS = np.array([1.0, 5.0, -30.0, 4.9], dtype=np.float32)


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-300, 1e-9])
def test_the_smallest_temperature_takes_the_likeliest_token(temperature: float) -> None:
    assert choose(LOGITS, temperature, np.random.default_rng(1)) == 1
    assert Chooser(Taste(temperature=temperature, top_p=0.5)).choose(LOGITS) == 1


def test_top_p_draws_from_the_likeliest_alone() -> None:
    chooser = Chooser(Taste(temperature=1.0, top_p=0.9, seed=3))
    assert {chooser.choose(LOGITS) for _ in range(200)} == {1, 3}


def test_penalties_make_a_text_change_its_mind() -> None:
    chooser = Chooser(Taste(frequency_penalty=1.0, presence_penalty=0.5))
    assert [chooser.choose(LOGITS) for _ in range(4)] == [1, 3, 1, 3]
