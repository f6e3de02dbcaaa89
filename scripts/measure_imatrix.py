"""What an importance matrix is worth: divergence of quantized critics from their F16 file.

    python scripts/measure_imatrix.py CHECKPOINT --calibration SET --held-out SET --work FOLDER

Writes a checkpoint's language model and vision tower as GGUF, computes two importance matrices on
the calibration set (prompts with pictures, and the same prompts without), quantizes with neither
and with each, and prints a table of divergences on the held-out set. Below each type stands what
pictures change in a row's divergence, with its standard error.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgecritic.backends.base import FloatArray
from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.hashing import file_sha256
from edgecritic.pictures import VisionProfile
from edgecritic.profile import CriticProfile
from edgecritic.prompts import load_dialect
from edgecritic.vision import ImageGeometry
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.calibration import CalibrationRow, critic_rows
from edgecritic_export.gguf.divergence import divergence, reference
from edgecritic_export.gguf.forward import ForwardOptions
from edgecritic_export.gguf.imatrix import ImportanceMatrix, collect, without_pictures
from edgecritic_export.gguf.language_model import write_language_model
from edgecritic_export.gguf.mmproj import write_checkpoint_mmproj
from edgecritic_export.gguf.quantize import QuantizeOptions, quantize


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def export(folder: Path, work: Path) -> tuple[Path, Path, CriticProfile]:
    """The checkpoint in F16, and what its prompts and pictures go through."""
    model, mmproj = work / "model-F16.gguf", work / "mmproj-F16.gguf"
    with Checkpoint.open(folder) as checkpoint:
        geometry, newline = checkpoint.geometry, checkpoint.image_newline
        if newline is None or not isinstance(geometry, ImageGeometry):
            raise SystemExit(f"{folder} is no critic of tiled pictures")
        write_language_model(checkpoint, model)
        write_checkpoint_mmproj(checkpoint, mmproj)
    vision = VisionProfile(geometry, newline, file_sha256(mmproj))
    return model, mmproj, CriticProfile("measured", load_dialect("edgecritic-v1"), vision=vision)


def matrices(
    model: Path, rows: Sequence[CalibrationRow], options: ForwardOptions
) -> dict[str, ImportanceMatrix | None]:
    """No matrix, one of the rows' text, one of the whole rows."""
    started = time.process_time()
    text = collect(model, [without_pictures(row.spans) for row in rows], ["text"], options)
    image = collect(model, [row.spans for row in rows], ["text and pictures"], options)
    for name, matrix in (("text", text), ("text and pictures", image)):
        _say(f"{name}: {matrix.n_rows} rows, {max(matrix.counts.values())} positions")
    _say(f"both matrices: {time.process_time() - started:.0f} s of CPU time")
    return {"none": None, "text": text, "text and pictures": image}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True, action="append")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--quants", default="Q4_K_M,Q4_0,IQ4_XS,Q2_K")
    parser.add_argument("--rows", type=int, default=128, help="of the calibration set")
    parser.add_argument("--held-out-rows", type=int, default=16, help="of each held-out set")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    model, mmproj, profile = export(args.checkpoint, args.work)
    options = ForwardOptions(n_ctx=2048)
    backend = LlamaCppBackend(model, mmproj=mmproj, options=EngineOptions(max_sequences=1))
    rows = list(critic_rows(args.calibration, backend, profile, limit=args.rows))
    held_out = [
        row
        for folder in args.held_out
        for row in critic_rows(folder, backend, profile, limit=args.held_out_rows)
    ]
    backend.close()
    by_name = matrices(model, rows, options)
    expected = reference(model, held_out, options)
    _say("| Type | Importance | Bits/weight | KL | 95% | KL at answers | Same top |")
    _say("|---|---|---|---|---|---|---|")
    for quant in args.quants.split(","):
        rows_of: dict[str, FloatArray] = {}
        for name, matrix in by_name.items():
            target = args.work / f"model-{quant}.gguf"
            made = quantize(model, target, quant, QuantizeOptions(importance=matrix))
            found = divergence(target, expected, options)
            rows_of[name] = np.asarray(found.rows, dtype=np.float32)
            _say(
                f"| {quant} | {name} | {made.mix.bits_per_weight:.2f} | {found.mean:.4f} | "
                f"{found.high:.3f} | {found.answers:.4f} | {found.same_top:.1%} |"
            )
        for name in ("none", "text"):
            change = rows_of["text and pictures"] - rows_of[name]
            error = change.std(ddof=1) / np.sqrt(change.size)
            _say(f"<!-- with pictures - {name}: {change.mean():+.4f} +- {error:.4f} a row -->")
        _say(f"<!-- {quant}: {made.mix} -->")


if __name__ == "__main__":
    main()
