"""What each ONNX variant of a critic costs: size, divergence from float32, time for a token.

    python scripts/measure_onnx.py CHECKPOINT --calibration SET --held-out SET --work FOLDER

Measures on the calibration set which layers of the four-bit decoder need eight bits, exports all
variants, and prints a table of what they give on the held-out sets, each with its own vision tower.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecritic import Bundle
from edgecritic.backends import load_backend
from edgecritic.backends.base import Append, Backend, FloatArray, Span, TextSpan
from edgecritic.backends.options import EngineOptions
from edgecritic.manifest import Calibration, DialectRef, Manifest
from edgecritic.profile import CriticProfile
from edgecritic.prompts import load_dialect
from edgecritic.task import Rubric
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.calibration import CalibrationRow, critic_rows
from edgecritic_export.onnx.calibrate import calibrate
from edgecritic_export.onnx.layout import OnnxOptions, export_onnx
from edgecritic_export.onnx.options import QuantizationLimits
from edgecritic_export.onnx.precision import VARIANTS, Variant
from edgecritic_export.onnx.quantize import log_softmax


@dataclass(frozen=True, slots=True)
class Measured:
    """One variant on the held-out rows.

    Attributes:
        megabytes: of its graphs.
        logits: (positions, n_vocab) behind the prompts and along the answers.
        prefill: CPU seconds for a token of a prompt.
        decode: CPU seconds for a token of an answer.
    """

    megabytes: float
    logits: FloatArray
    prefill: float
    decode: float


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def manifest() -> Manifest:
    """Just enough to make a bundle."""
    dialect = load_dialect("edgecritic-v1")
    return Manifest(
        name="measured",
        version="0",
        family="llava_onevision",
        files=(),
        base_model="unknown",
        dialect=DialectRef(dialect.name, dialect.digest),
        rubric=Rubric(),
        n_ctx=4096,
        image=None,
        calibration=Calibration(),
        licence="none",
        training=None,
        verification=None,
        good_for=(),
        bad_for=(),
        created="2026-01-01",
    )


def opened(bundle: Bundle, threads: int) -> tuple[Backend, CriticProfile]:
    """A bundle's engine and profile."""
    backend = load_backend(bundle, "onnx", EngineOptions(n_ctx=4096, n_threads=threads))
    return backend, CriticProfile.of(bundle, "onnx")


def measure(bundle: Bundle, sets: Iterable[Path], rows: int, threads: int) -> Measured:
    """One variant, its own pictures included."""
    backend, profile = opened(bundle, threads)
    laid = [row for folder in sets for row in critic_rows(folder, backend, profile, limit=rows)]
    logits: list[FloatArray] = []
    seconds, tokens = [0.0, 0.0], [0, 0]
    for row in laid:
        sequence = backend.open_sequence()
        for index, spans in enumerate(steps(row)):
            started = time.process_time()
            (found,) = backend.append([Append(sequence, spans)])
            seconds[index > 0] += time.process_time() - started
            tokens[index > 0] += sum(map(len, spans))
            if found is not None:
                logits.append(found)
        backend.close_sequence(sequence)
    backend.close()
    graphs = (path for path in (bundle.folder / "onnx").iterdir())
    return Measured(
        sum(path.stat().st_size for path in graphs) / 1e6,
        np.stack(logits),
        seconds[0] / tokens[0],
        seconds[1] / tokens[1],
    )


def steps(row: CalibrationRow) -> Sequence[tuple[Span, ...]]:
    """The prompt at once, then the answer token by token, its last one left out."""
    *prompt, answer = row.spans
    if not isinstance(answer, TextSpan):
        raise TypeError(f"{row.name} ends with a picture")
    return [tuple(prompt), *((TextSpan((token,)),) for token in answer.tokens[:-1])]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True, action="append")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=12, help="of the calibration set")
    parser.add_argument("--held-out-rows", type=int, default=8, help="of each held-out set")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-kl", type=float, default=QuantizationLimits().max_kl)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(stream=sys.stderr)
    logging.getLogger("edgecritic_export").setLevel(logging.INFO)
    with Checkpoint.open(args.checkpoint) as checkpoint:
        q8 = export_onnx(checkpoint, args.work, manifest(), OnnxOptions(variants=("q8",)))["q8"]
        started = time.process_time()
        limits = QuantizationLimits(max_kl=args.max_kl, n_threads=args.threads)
        choice = calibrate(
            checkpoint, q8, args.calibration, args.work, limit=args.rows, limits=limits
        )
        seconds = time.process_time() - started
        _say(
            f"eight bits in layers {choice.eight_bit}: KL {choice.kl:.5f} ({seconds:.0f} s of CPU)"
        )
        _say("alone: " + ", ".join(f"{kl:.5f}" for kl in choice.alone))
        options = OnnxOptions(variants=tuple(VARIANTS), choice=choice)
        bundles = export_onnx(checkpoint, args.work, manifest(), options)
    found = {
        variant: measure(bundle, args.held_out, args.held_out_rows, args.threads)
        for variant, bundle in bundles.items()
    }
    _print_table(found)


def _print_table(found: dict[Variant, Measured]) -> None:
    expected = log_softmax(found["fp32"].logits)
    _say("| Variant | MB | KL | 95% | Same top | Prompt, ms a token | Answer, ms a token |")
    _say("|---|---|---|---|---|---|---|")
    for variant, one in found.items():
        log_probs = log_softmax(one.logits)
        kl = (np.exp(expected) * (expected - log_probs)).sum(axis=-1)
        same = np.mean(log_probs.argmax(axis=-1) == expected.argmax(axis=-1))
        _say(
            f"| {variant} | {one.megabytes:.0f} | {kl.mean():.5f} | {np.quantile(kl, 0.95):.4f} | "
            f"{same:.1%} | {1e3 * one.prefill:.1f} | {1e3 * one.decode:.1f} |"
        )


if __name__ == "__main__":
    main()
