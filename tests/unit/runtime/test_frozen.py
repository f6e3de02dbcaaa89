"""The sidecar as PyInstaller freezes it: it starts, loads llama.cpp's libraries, and judges."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgecritic._pyinstaller import hook_dirs

ROOT = Path(__file__).parents[3]


def test_the_hooks_are_where_pyinstaller_is_told_to_look() -> None:
    (folder,) = hook_dirs()
    assert {path.name for path in Path(folder).glob("hook-*.py")} == {
        "hook-edgecritic.py",
        "hook-llama_cpp.py",
    }


@pytest.mark.slow
@pytest.mark.skipif(find_spec("PyInstaller") is None, reason="PyInstaller is not installed")
def test_a_frozen_sidecar_judges(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "measure_frozen.py"
    kept = tmp_path / "shipped"
    command = [sys.executable, str(script), "--runs", "1", "--keep", str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| ready to answer |" in done.stdout
    shipped = {path.name for path in (kept / "_internal").iterdir()}
    assert "llama_cpp" in shipped
    assert not {"torch", "transformers", "scipy", "pandas"} & shipped
