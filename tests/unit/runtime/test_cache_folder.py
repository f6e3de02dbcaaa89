"""Where files outside of bundles are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecritic.cache_folder import cache_home


def test_the_cache_is_the_users_or_the_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGECRITIC_HOME", str(tmp_path))
    assert cache_home() == tmp_path
    monkeypatch.delenv("EDGECRITIC_HOME")
    assert cache_home().name == "edgecritic"


def test_a_tilde_is_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECRITIC_HOME", "~/models")  # as a file of settings or a container has it
    assert cache_home() == Path.home() / "models"
