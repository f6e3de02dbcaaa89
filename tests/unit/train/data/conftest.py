"""The synthetic asset packs, opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecritic_train.data.assets import Assets


@pytest.fixture(scope="session")
def assets(packs: tuple[Path, Path]) -> Assets:
    """Both packs, opened."""
    return Assets.load(*packs)
