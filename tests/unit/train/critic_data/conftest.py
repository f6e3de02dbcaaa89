"""Rows and pictures for the tests of critic data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecritic_train.critic_data.rows import CriticRow, ImageFile


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (32, 24)) -> Path:
    """A file with a picture of noise in large blocks, which survives JPEG."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize(size, Image.Resampling.NEAREST).save(path)
    return path


@pytest.fixture
def pair(tmp_path):
    return CriticRow(
        id="a-1",
        setting="pairwise",
        question="How many cats?",
        responses=("Two cats.", "Three."),
        verdict="second",
        images=(ImageFile(picture(tmp_path / "images/one.png")),),
        reason="There are three cats.",
        source="cats",
        judge="human",
    )
