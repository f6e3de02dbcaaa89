"""Starting to train says nothing that concerns nobody."""

from __future__ import annotations

import subprocess
import sys


def test_peft_is_imported_without_a_word() -> None:
    """Where bitsandbytes has something to say: on a CPU with AVX512-BF16."""
    code = "import edgecritic_train\nfrom transformers import TrainerCallback\nimport peft"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
