"""Our decoder beside the one that onnxruntime-genai's builder makes of the same language model.

    python scripts/compare_onnx_builder.py CHECKPOINT --work FOLDER --builder-python PYTHON

The builder wants a checkpoint of the language model alone, so transformers writes one. PYTHON is
that of an environment with onnxruntime-genai 0.18 (``pip install --no-deps onnxruntime-genai``)
that also sees torch and transformers. Prints how far both, and transformers in float32, are from
transformers in float64.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlavaOnevisionForConditionalGeneration,
)

from edgecritic.graphs.precision import DecoderPrecision
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.decoder import write_decoder
from edgecritic_export.onnx.ort import DecoderSession, open_session

FloatArray = NDArray[np.float32]
BUILDER = "onnxruntime_genai.models.builder"


def write_language_model(folder: Path, out: Path) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Write the language model alone.

    Returns:
        Embeddings of random tokens, and their logits computed in float32 and in float64.
    """
    whole: Any = LlavaOnevisionForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    config = whole.config.get_text_config()
    config.tie_word_embeddings = whole.config.tie_word_embeddings
    alone: Any = AutoModelForCausalLM.from_config(config)
    alone.model.load_state_dict(whole.model.language_model.state_dict())
    alone.lm_head.load_state_dict(whole.lm_head.state_dict())
    alone.save_pretrained(out)
    AutoTokenizer.from_pretrained(folder).save_pretrained(out)
    tokens = np.random.default_rng(0).integers(100, config.vocab_size - 100, size=(1, 256))
    with torch.inference_mode():
        embeddings = whole.get_input_embeddings()(torch.from_numpy(tokens))
        logits = whole(inputs_embeds=embeddings).logits
        exact = whole.double()(inputs_embeds=embeddings.double()).logits
    return embeddings[0].numpy(), logits[0].numpy(), exact[0].float().numpy()


def builder_logits(model: Path, embeddings: FloatArray, head_dim: int) -> FloatArray:
    """(n_tokens, n_vocab) of the builder's decoder."""
    session = open_session(model, n_threads=2)
    feeds: dict[str, Any] = {
        "inputs_embeds": embeddings[None],
        "attention_mask": np.ones((1, len(embeddings)), dtype=np.int64),
    }
    for entry in session.get_inputs():
        if entry.name.startswith("past_key_values."):
            feeds[entry.name] = np.zeros((1, entry.shape[1], 0, head_dim), dtype=np.float32)
    (found,) = session.run(["logits"], feeds)
    return np.asarray(found[0])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--builder-python", type=Path, required=True)
    args = parser.parse_args()
    alone, built = args.work / "language-model", args.work / "builder"
    embeddings, single, exact = write_language_model(args.checkpoint, alone)
    command = [args.builder_python, "-m", BUILDER, "-m", alone, "-i", alone, "-o", built]
    command += [
        "-p",
        "fp32",
        "-e",
        "cpu",
        "-c",
        args.work,
        "--extra_options",
        "exclude_embeds=true",
    ]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    ours = args.work / "ours.onnx"
    with Checkpoint.open(args.checkpoint) as checkpoint:
        write_decoder(checkpoint, ours, DecoderPrecision.uniform("fp32", checkpoint.text.n_layers))
        head_dim = checkpoint.text.head_dim
    logits = {
        "transformers, float32": single,
        "ours": DecoderSession(ours, n_threads=2).logits(embeddings, range(len(embeddings))),
        "the builder's": builder_logits(built / "model.onnx", embeddings, head_dim),
    }
    sys.stdout.write(f"{exact.size:,} logits, standard deviation {exact.std():.2f}\n")
    for name, found in logits.items():
        apart = np.abs(found - exact)
        sys.stdout.write(f"{name}: mean {apart.mean():.1e}, max {apart.max():.1e}\n")


if __name__ == "__main__":
    main()
