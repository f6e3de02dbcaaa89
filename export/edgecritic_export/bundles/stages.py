"""What each stage of an export takes: disk, memory and time, estimated from shapes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from edgecritic.graphs.precision import DecoderPrecision
from edgecritic.staging import existing
from edgecritic_export.bundles.gguf import GgufOptions, source_type
from edgecritic_export.bundles.onnx import helping
from edgecritic_export.bundles.plan import PlannedFile, Stage
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.quantize import UNQUANTIZED
from edgecritic_export.gguf.sizes import language_bytes, tower_bytes
from edgecritic_export.onnx.layout import planned_graphs
from edgecritic_export.onnx.options import OnnxOptions
from edgecritic_export.onnx.sizes import decoder_bytes
from edgecritic_export.onnx.vision import VISION_ENCODER

# As measured: docs/export.md, A 7B.
_WRITE_S_PER_GB: Final = 3.0
_QUANTIZE_CORE_S_PER_GB: Final = 25.0  # of the file in half precision, beside reading it
_TRACE_CORE_S_PER_GB: Final = 30.0  # of the tower in float32
_TRACED_COPIES: Final = 2.7  # of the tower in float32, at the fullest moment
_TORCH_BYTES: Final = 1_000_000_000
_QUANTIZER_BYTES: Final = 2_000_000_000
_SPARE_BYTES: Final = 256 << 20


def gguf_stage(checkpoint: Checkpoint, name: str, options: GgufOptions) -> Stage:
    """Of an export to GGUF; `name` is that of the critic's files."""
    source = source_type(checkpoint)
    files = []
    if source not in options.quants and not set(options.quants) <= set(UNQUANTIZED):
        size = language_bytes(checkpoint, source)
        path = f"gguf/.work/{name}-{source}.gguf"
        files.append(PlannedFile(path, size, _write_s(size), kept=False))
    towers: set[str] = set()  # bundles share them where the disk knows links
    for quant in options.quants:
        size = language_bytes(checkpoint, quant)
        seconds = _write_s(size)
        if quant not in UNQUANTIZED:
            whole = language_bytes(checkpoint, "F16")
            seconds += _write_s(whole) + whole * 1e-9 * _QUANTIZE_CORE_S_PER_GB / _cores()
        files.append(PlannedFile(f"gguf/{quant}/{name}-{quant}.gguf", size, seconds))
        kind = options.tower_of(checkpoint.family, quant)
        if kind not in towers:
            towers.add(kind)
            size = tower_bytes(checkpoint, kind)
            path = f"gguf/{quant}/mmproj-{name}-{kind}.gguf"
            files.append(PlannedFile(path, size, _write_s(size)))
    if set(options.quants) <= set(UNQUANTIZED):
        return Stage("slabs of a tensor", _SPARE_BYTES, tuple(files))
    return Stage("llama.cpp's quantizer", _QUANTIZER_BYTES, tuple(files))


def onnx_stage(checkpoint: Checkpoint, options: OnnxOptions, *, measured: bool) -> Stage:
    """Of an export to ONNX.

    Args:
        checkpoint: open.
        options: what to write.
        measured: whether a four-bit decoder's layers are chosen by measurement.
    """
    made = planned_graphs(checkpoint, options)
    files = [_graph(checkpoint, name, size) for name, size in made.items()]
    ram = round(tower_bytes(checkpoint, "F32") * _TRACED_COPIES) + _TORCH_BYTES
    traced = Stage("tracing the vision tower", ram, tuple(files))
    if not measured:
        return traced
    extra = planned_graphs(checkpoint, helping(options)).items()
    files += [_graph(checkpoint, n, size, kept=False) for n, size in extra if n not in made]
    layers = checkpoint.text.n_layers
    eight, four = (
        decoder_bytes(checkpoint, DecoderPrecision.mixed(layers, kept))
        for kept in (range(layers), ())
    )
    files.append(_graph(checkpoint, "decoder to measure, eight bits", eight, kept=False))
    files.append(_graph(checkpoint, "decoder to measure, four bits", four, kept=False))
    ran = Stage("running the eight-bit decoder", eight + _TORCH_BYTES)
    most = max(traced, ran, key=lambda stage: stage.peak_ram)
    return Stage(most.needs, most.peak_ram, tuple(files))


def hf_stage(checkpoint: Checkpoint, out: Path) -> Stage:
    """Of a bundle of the checkpoint's own files, which takes no room where they can be linked."""
    same_disk = checkpoint.folder.stat().st_dev == existing(out).stat().st_dev
    store = checkpoint.store
    size = 0 if same_disk else sum(store.info(name).nbytes for name in store.names)
    file = PlannedFile("hf", size, _write_s(size))
    return Stage("hashing", _SPARE_BYTES, (file,))


def verify_stage(checkpoint: Checkpoint, weights: str) -> Stage:
    """Of running the checkpoint as the reference, in ``fp32`` or half precision."""
    kind = "F32" if weights == "fp32" else "F16"
    ram = language_bytes(checkpoint, kind) + tower_bytes(checkpoint, kind) + _TORCH_BYTES
    return Stage(f"the checkpoint in {weights}, to verify against", ram)


def _graph(checkpoint: Checkpoint, name: str, size: int, *, kept: bool = True) -> PlannedFile:
    seconds = _write_s(size)
    if name.startswith(VISION_ENCODER):
        traced = tower_bytes(checkpoint, "F32") * 1e-9
        seconds += traced * _TRACE_CORE_S_PER_GB / _cores()
    return PlannedFile(f"onnx/onnx/{name}", size, seconds, kept)


def _write_s(size: int) -> float:
    return size * 1e-9 * _WRITE_S_PER_GB


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
