"""Fixtures that every part's tests share."""

from __future__ import annotations

import pytest

from tiny_models import TinyModels, make_tiny_models


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Random F32 models: language model, vision tower, adapter."""
    return make_tiny_models(tmp_path_factory.mktemp("tiny-models"))
