"""What an export will write, and whether there is room for it: before anything is written."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.mmproj import tower_type

BITS = {
    "F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5, "Q6_K": 6.6, "Q5_K_M": 5.7,
    "Q4_K_M": 4.9, "Q4_0": 4.6, "IQ4_XS": 4.4, "Q3_K_M": 4.0, "Q2_K": 3.2,
}  # fmt: skip
"""Bits per weight of a whole file, output and embeddings included (the 7B of Qwen2's shape)."""
_READ_S_PER_GB, _QUANTIZE_CORE_S_PER_GB = 3.0, 80.0
"""Writing 15.2 GB took 30 s on a local disk, quantizing it to Q4_K_M 75 s on 16 cores."""
_SPARE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that will be written.

    Attributes:
        path: relative to the export's folder.
        size: bytes, estimated.
        seconds: to write it, estimated for this machine.
        kept: whether it stays; intermediate files do not.
    """

    path: str
    size: int
    seconds: float
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """All of them.

    Attributes:
        files: in the order of writing.
        peak_ram: bytes held at once at most, estimated; memory maps not counted.
    """

    files: tuple[PlannedFile, ...]
    peak_ram: int

    @property
    def disk(self) -> int:
        """Bytes on disk at the fullest moment, which is the last one before the clean-up."""
        return sum(file.size for file in self.files)

    @property
    def seconds(self) -> float:
        return sum(file.seconds for file in self.files)

    def describe(self) -> str:
        """For people: one line a file, and the sums."""
        lines = [
            f"{file.size / 1e9:9.2f} GB  {file.path}" + ("" if file.kept else "  (intermediate)")
            for file in self.files
        ]
        kept = sum(file.size for file in self.files if file.kept)
        lines.append(f"{kept / 1e9:9.2f} GB  to stay, {self.disk / 1e9:.2f} GB while it works")
        lines.append(f"{self.peak_ram / 1e9:9.2f} GB  of memory at most")
        lines.append(f"{max(1, round(self.seconds / 60)):6d} min  or so on this machine")
        return "\n".join(lines)


def plan_gguf(checkpoint: Checkpoint, name: str, quants: Sequence[str], source: str) -> Plan:
    """The plan of an export to GGUF.

    Args:
        checkpoint: open.
        name: of the critic's files.
        quants: types of the language model.
        source: type of the intermediate file that quantization starts from.
    """
    language, vision = _language(checkpoint), _vision(checkpoint)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    files = []
    if any(quant != source for quant in quants):
        files.append(_written(f".work/{name}-{source}.gguf", language, source, kept=False))
    for quant in quants:
        path = f"{quant}/{name}-{quant}.gguf"
        if quant in ("F32", "F16", "BF16"):
            files.append(_written(path, language, quant))
        else:
            seconds = language * 2e-9 * _QUANTIZE_CORE_S_PER_GB / (cores or 1)
            files.append(PlannedFile(path, _size(language, quant), seconds))
        if vision:
            precision = "F32" if quant == "F32" else tower_type(checkpoint.family)
            files.append(_written(f"{quant}/mmproj-{name}-{precision}.gguf", vision, precision))
    largest = max((_elements(checkpoint, n) for n in checkpoint.store.names), default=0)
    return Plan(tuple(files), 2 * 4 * largest + _SPARE_BYTES)


def language_bytes(checkpoint: Checkpoint, quant: str) -> int:
    """Size of the language model's file, estimated."""
    return _size(_language(checkpoint), quant)


def vision_bytes(checkpoint: Checkpoint, quant: str) -> int:
    """Size of the file of vision tower and projector, estimated."""
    return _size(_vision(checkpoint), quant)


def _language(checkpoint: Checkpoint) -> int:
    return _count(checkpoint, checkpoint.language_tensors().values())


def _vision(checkpoint: Checkpoint) -> int:
    tower = _count(checkpoint, checkpoint.vision_tensors().values())
    return tower + _count(checkpoint, checkpoint.projector_tensors().values())


def _written(path: str, n: int, quant: str, *, kept: bool = True) -> PlannedFile:
    size = _size(n, quant)
    return PlannedFile(path, size, size * 1e-9 * _READ_S_PER_GB, kept)


def _size(n: int, quant: str) -> int:
    return round(n * BITS[quant] / 8)


def _elements(checkpoint: Checkpoint, stored: str) -> int:
    return math.prod(checkpoint.store.shape(stored))


def _count(checkpoint: Checkpoint, names: Iterable[str]) -> int:
    return sum(_elements(checkpoint, name) for name in names)
