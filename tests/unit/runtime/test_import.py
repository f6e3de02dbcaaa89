"""Importing edgecritic is cheap, and its public names are there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgecritic
import edgecritic.errors

RUNTIME = Path(edgecritic.__file__).parents[1]
ENGINES = {
    *("torch", "transformers", "tokenizers", "peft", "bitsandbytes"),
    *("llama_cpp", "onnxruntime", "huggingface_hub"),
}
PROBE = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
started = time.process_time()
exec(sys.argv[2])
seconds = time.process_time() - started
print(json.dumps([seconds, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def probe(code: str) -> tuple[float, set[str]]:
    """CPU seconds that `code` takes in a fresh Python, and what it has loaded then."""
    command = [sys.executable, "-c", PROBE, str(RUNTIME), code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, modules = json.loads(done.stdout)
    return seconds, set(modules)


def test_import_is_fast_and_light() -> None:
    # The best of three, since the machine may be busy: what counts is what the import costs.
    best = min(probe("import edgecritic")[0] for _ in range(3))
    assert best < 0.3
    modules = probe("import edgecritic")[1]
    assert not modules & (ENGINES | {"numpy", "PIL", "platformdirs"})


def test_the_whole_api_loads_no_engine() -> None:
    _, modules = probe("from edgecritic import *; import edgecritic.models, edgecritic.parsing")
    assert not modules & ENGINES
    assert "numpy" in modules


def test_public_names() -> None:
    assert sorted(edgecritic.__all__) == edgecritic.__all__
    for name in edgecritic.__all__:
        assert getattr(edgecritic, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Judge'"):
        _ = edgecritic.Judge


def test_every_error_is_public() -> None:
    errors = {name for name, value in vars(edgecritic.errors).items() if isinstance(value, type)}
    assert errors <= set(edgecritic.__all__)
