"""A decoder is written without ever being held in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from edgecritic_export.checkpoints.store import ShardWriter, TensorInfo, narrowed
from edgecritic_export.checkpoints.text_shape import read_text_shape
from tiny_checkpoints import write_llava_onevision

# A process of its own, so that what other tests left behind does not count. Neither do pages of
# mapped files (RssFile), which the kernel takes back whenever it needs them.
EXPORT = """
import sys, threading, time
from pathlib import Path
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.decoder import write_decoder, write_embed_tokens
from edgecritic.graphs.precision import DecoderPrecision

def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024

def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.002)

start = peak = anonymous()
threading.Thread(target=watch, daemon=True).start()
with Checkpoint.open(sys.argv[1]) as checkpoint:
    folder = Path(sys.argv[2])
    precision = DecoderPrecision(("fp32", "fp16", "int8", "int4") * 2, "int8")
    write_decoder(checkpoint, folder / "inside.onnx", precision, external=False)
    write_decoder(checkpoint, folder / "apart.onnx", precision, external=True)
    write_embed_tokens(checkpoint, folder / "embed_tokens.onnx", "fp16")
print(peak - start)
"""
WIDTHS = {
    "hidden_size": 1024,
    "intermediate_size": 4608,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 16384,
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder with 300 MB of bfloat16, nearly all of it in the language model."""
    folder = tmp_path / "checkpoint"
    write_llava_onevision(folder, text="llama", tied=True)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= WIDTHS | {"head_dim": 64}
    (folder / "config.json").write_text(json.dumps(config))
    weights = folder / "model.safetensors"
    rest = {name: part for name, part in load_file(weights).items() if "vision_tower" in name}
    shapes = read_text_shape("text_config", config["text_config"], tied=True).tensor_shapes()
    random = np.random.default_rng(0).standard_normal(1 << 16).astype(np.float32) / 32
    language = {
        f"model.language_model.{name.removeprefix('model.')}": np.resize(random, shape)
        for name, shape in shapes.items()
    }
    width = config["vision_config"]["hidden_size"]
    projector = {
        "model.multi_modal_projector.linear_1.weight": (1024, width),
        "model.multi_modal_projector.linear_1.bias": (1024,),
        "model.multi_modal_projector.linear_2.weight": (1024, 1024),
        "model.multi_modal_projector.linear_2.bias": (1024,),
        "model.image_newline": (1024,),
    }
    rest |= {name: np.resize(random, shape) for name, shape in projector.items()}
    everything = {name: narrowed("BF16", part) for name, part in (rest | language).items()}
    plan = {name: TensorInfo("BF16", bits.shape) for name, bits in everything.items()}
    with ShardWriter(folder, plan) as writer:
        for name, bits in everything.items():
            writer.write(name, "BF16", bits)
        writer.finish()
    assert 300e6 < weights.stat().st_size < 320e6
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_a_fraction_of_the_model(checkpoint: Path, tmp_path: Path) -> None:
    """Measured: 70 MB with two threads, of which each holds one piece of a matrix."""
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, str(checkpoint), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    n_threads = min(8, os.cpu_count() or 1)
    assert int(done.stdout) < (60 + 40 * n_threads) * 1_000_000
