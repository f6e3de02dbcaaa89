"""Features on disk, written by several processes at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecritic.vision import FeatureKey
from edgecritic_bench.quantization.features import SharedFeatures

KEY = FeatureKey(content="picture", geometry="g", vision_tower="t", single=False)


def test_a_file_that_another_process_renames_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.1.part").write_bytes(b"half")
    listed = os.scandir

    def scandir(folder: Any) -> list[os.DirEntry[str]]:
        entries = list(listed(folder))
        (tmp_path / "one.1.part").unlink(missing_ok=True)
        return entries

    monkeypatch.setattr(os, "scandir", scandir)
    shared = SharedFeatures(tmp_path, 2**20, "cpu")
    features = np.ones((2, 3), dtype=np.float32)
    shared.put(KEY, features)
    found = SharedFeatures(tmp_path, 2**20, "cpu").get(KEY)
    assert found is not None
    assert np.array_equal(found, features)
