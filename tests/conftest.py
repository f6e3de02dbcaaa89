"""Fixtures that every part's tests share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# As the command line does, before any OpenMP library is loaded: see docs/experiments.md.
os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}

from synthetic_packs import write_packs
from tiny_models import TinyModels, make_tiny_models

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("edgecritic", deadline=None)
settings.load_profile("edgecritic")


def pytest_unconfigure() -> None:
    """Close what llama-cpp-python opens when it is imported, and leaves to the interpreter."""
    if files := sys.modules.get("llama_cpp._utils"):
        files.outnull_file.close()
        files.errnull_file.close()


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Random F32 models: language model, vision tower, adapter."""
    return make_tiny_models(tmp_path_factory.mktemp("tiny-models"))


@pytest.fixture(scope="session")
def packs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Paths of a training and a test pack of synthetic assets."""
    return write_packs(tmp_path_factory.mktemp("packs"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it; see CONTRIBUTING.md.

    Of one module: as long as it is there, playwright's event loop runs in this thread, and no test
    can run one of its own.
    """
    api = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as playwright:
        # As root, Chromium starts without its sandbox only; it sees nothing but our own pages.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
