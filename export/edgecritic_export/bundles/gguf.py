"""One checkpoint to several GGUF bundles, each in a folder named by its quant type."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast, get_args

import numpy as np

from edgecritic import Bundle, InputError
from edgecritic.bundle import MANIFEST, describe_file, write_bundle
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.plan import language_bytes, plan_gguf, vision_bytes
from edgecritic_export.bundles.recipe import claim
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.provenance import check_disk
from edgecritic_export.gguf.imatrix import ImportanceMatrix
from edgecritic_export.gguf.language_model import write_language_model
from edgecritic_export.gguf.mmproj import tower_type, write_checkpoint_mmproj
from edgecritic_export.gguf.quantize import LADDER, QuantizeOptions, quantize
from edgecritic_export.progress import SILENCE, Progress, writing

FloatType: TypeAlias = Literal["F32", "F16", "BF16"]
NEWLINE: Final = "image_newline.npy"
_WORK: Final = ".work"


@dataclass(frozen=True, slots=True)
class GgufOptions:
    """How to export.

    Attributes:
        quants: types of the language model, of `LADDER` or ``F32``; one bundle each.
        overrides: see `QuantizeOptions`.
        importance: see `QuantizeOptions`.
    """

    quants: tuple[str, ...] = ("Q8_0", "Q4_K_M")
    overrides: tuple[tuple[str, str], ...] = ()
    importance: ImportanceMatrix | None = None

    def __post_init__(self) -> None:
        known = ("F32", *LADDER)
        for quant in self.quants:
            if quant not in known:
                raise InputError(
                    f"quant type {quant!r} is not known", f"known types: {', '.join(known)}"
                )


def export_gguf(
    checkpoint: Checkpoint,
    out: Path,
    facts: CriticFacts,
    options: GgufOptions,
    progress: Progress = SILENCE,
) -> list[Bundle]:
    """Write a bundle for each quant type.

    What is there already is kept: a run that was interrupted goes on, and one that was not does
    nothing. The intermediate file is removed when all bundles are there.

    Args:
        checkpoint: open.
        out: folder of the bundles' folders.
        facts: what the manifests say.
        options: which types.
        progress: is told what goes on.

    Raises:
        ArtifactError: the folder holds an export of something else, the disk is too small, or a
            tensor cannot be written.
    """
    claim(out, checkpoint, {"overrides": options.overrides, "importance": options.importance})
    export = _Export(checkpoint, out, facts, options, source_type(checkpoint), progress)
    missing = [quant for quant in options.quants if not (out / quant / MANIFEST).exists()]
    if missing:
        plan = plan_gguf(checkpoint, facts.name, options.quants, export.source)
        there = [out / file.path for file in plan.files if (out / file.path).exists()]
        progress(plan.describe())
        check_disk(out, plan.disk - sum(path.stat().st_size for path in there))
    for quant in missing:
        export.write(quant)
    shutil.rmtree(out / _WORK, ignore_errors=True)
    return [Bundle.read(out / quant) for quant in options.quants]


def source_type(checkpoint: Checkpoint) -> FloatType:
    """The float type that loses nothing of the checkpoint's matrices."""
    stored = {
        checkpoint.store.dtype(name)
        for name in checkpoint.language_tensors().values()
        if len(checkpoint.store.shape(name)) > 1
    }
    if stored <= {"F16"}:
        return "F16"
    return "BF16" if stored <= {"BF16"} else "F32"


@dataclass(frozen=True, slots=True)
class _Export:
    checkpoint: Checkpoint
    out: Path
    facts: CriticFacts
    options: GgufOptions
    source: FloatType
    progress: Progress

    def write(self, quant: str) -> Bundle:
        """The bundle of one quant type; its manifest comes last."""
        folder, name = self.out / quant, self.facts.name
        folder.mkdir(parents=True, exist_ok=True)
        model = folder / f"{name}-{quant}.gguf"
        if not model.exists():
            self._write_language_model(model, quant)
        files = [describe_file("language_model", model, quant=quant)]
        precision = "F32" if quant == "F32" else tower_type(self.checkpoint.family)
        tower = folder / f"mmproj-{name}-{precision}.gguf"
        self._write_tower(tower, precision)
        files += [describe_file("mmproj", tower, quant=precision)]
        newline, separator = self.checkpoint.image_newline, folder / NEWLINE
        if newline is not None:
            np.save(separator, newline)
            files += [describe_file("image_newline", separator)]
        manifest = self.facts.manifest(self.checkpoint, tuple(files))
        manifest = replace(manifest, rounding=self._rounding(quant))
        self.progress(f"{folder / MANIFEST} completes the bundle")
        return write_bundle(folder, manifest, {file.path: folder / file.path for file in files})

    def _rounding(self, quant: str) -> object:
        """What weighed the rounding; None where nothing is rounded or nothing weighed it."""
        importance = self.options.importance
        if importance is None or quant in get_args(FloatType):
            return None
        return {"importance": list(importance.datasets), "rows": importance.n_rows}

    def _write_language_model(self, model: Path, quant: str) -> None:
        if quant in get_args(FloatType):
            self._write_whole(model, cast(FloatType, quant))
            return
        whole = self.out / _WORK / f"{self.facts.name}-{self.source}.gguf"
        if not whole.exists():
            whole.parent.mkdir(exist_ok=True)
            self._write_whole(whole, self.source)
        self.progress(f"quantizing to {model}")
        options = QuantizeOptions(self.options.overrides, importance=self.options.importance)
        with writing(self.progress, model, language_bytes(self.checkpoint, quant)):
            done = quantize(whole, model, quant, options)
        if done.fallbacks:
            self.progress(f"{len(done.fallbacks)} matrices have no {quant} and stay as they are")

    def _write_whole(self, path: Path, float_type: FloatType) -> None:
        self.progress(f"writing {path}")
        name = f"{self.facts.name} {self.facts.version}"
        with writing(self.progress, path, language_bytes(self.checkpoint, float_type)):
            write_language_model(self.checkpoint, path, float_type=float_type, name=name)

    def _write_tower(self, tower: Path, precision: FloatType) -> None:
        """Write the vision tower once; further bundles share it where the disk can."""
        if tower.exists():
            return
        for other in self.out.glob(f"*/{tower.name}"):
            with suppress(OSError):  # no hard links here
                os.link(other, tower)
                return
        self.progress(f"writing {tower}")
        with writing(self.progress, tower, vision_bytes(self.checkpoint, precision)):
            write_checkpoint_mmproj(self.checkpoint, tower, float_type=precision)
