"""One checkpoint to several GGUF bundles, each in a folder named by its quant type."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

import numpy as np

from edgecritic import Bundle, InputError
from edgecritic.bundle import MANIFEST, describe_file, write_bundle
from edgecritic.manifest import BundleFile
from edgecritic.staging import link
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.recipe import claim
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.provenance import fingerprint
from edgecritic_export.gguf.file import FloatType
from edgecritic_export.gguf.imatrix import ImportanceMatrix
from edgecritic_export.gguf.language_model import write_language_model
from edgecritic_export.gguf.lora import write_adapter
from edgecritic_export.gguf.mmproj import tower_type, write_checkpoint_mmproj
from edgecritic_export.gguf.quantize import (
    LADDER,
    PROJECTOR_LADDER,
    UNQUANTIZED,
    QuantizeOptions,
    quantize,
)
from edgecritic_export.gguf.sizes import language_bytes, tower_bytes
from edgecritic_export.progress import SILENCE, Progress, writing

NEWLINE: Final = "image_newline.npy"
TOWERS: Final = ("F32", "BF16", *PROJECTOR_LADDER)
"""Types of a vision tower."""
_WORK: Final = ".work"
_ADAPTER_TYPE: Final = "F16"


@dataclass(frozen=True, slots=True)
class GgufOptions:
    """How to export.

    Attributes:
        quants: types of the language model, of `LADDER` or ``F32``; one bundle each.
        overrides: see `QuantizeOptions`.
        importance: see `QuantizeOptions`.
        tower: type of the vision tower, of `TOWERS`; the family's own half precision when left
            out, and F32 beside an F32 model.
        adapter: folder of a LoRA adapter that stays a file of its own, or None.
    """

    quants: tuple[str, ...] = ("Q8_0", "Q4_K_M")
    overrides: tuple[tuple[str, str], ...] = ()
    importance: ImportanceMatrix | None = None
    tower: str | None = None
    adapter: Path | None = None

    def __post_init__(self) -> None:
        for asked, known in ((self.quants, ("F32", *LADDER)), ((self.tower or "F16",), TOWERS)):
            for quant in asked:
                if quant not in known:
                    raise InputError(
                        f"quant type {quant!r} is not known", f"known types: {', '.join(known)}"
                    )

    def tower_of(self, family: str, quant: str) -> str:
        """Type of the tower beside a language model of type `quant`."""
        return self.tower or ("F32" if quant == "F32" else tower_type(family))

    def settings(self) -> dict[str, object]:
        """What of this changes files that were written already."""
        found: dict[str, object] = {"overrides": self.overrides, "importance": self.importance}
        if self.tower is not None:
            found["tower"] = self.tower
        if self.adapter is not None:
            found["adapter"] = fingerprint(self.adapter)
        return found


def export_gguf(
    checkpoint: Checkpoint,
    out: Path,
    facts: CriticFacts,
    options: GgufOptions,
    progress: Progress = SILENCE,
) -> list[Bundle]:
    """Write a bundle for each quant type.

    What is there already is kept: a run that was interrupted goes on, and one that was not does
    nothing. Intermediate files are removed when all bundles are there.

    Args:
        checkpoint: open.
        out: folder of the bundles' folders.
        facts: what the manifests say.
        options: which types.
        progress: is told what goes on.

    Raises:
        ArtifactError: the folder holds an export of something else, or a tensor cannot be
            written.
    """
    claim(out, checkpoint, options.settings())
    export = _Export(checkpoint, out, facts, options, source_type(checkpoint), progress)
    for quant in options.quants:
        if not (out / quant / MANIFEST).exists():
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
        folder = self.out / quant
        folder.mkdir(parents=True, exist_ok=True)
        files = tuple(self._files(folder, quant))
        manifest = self.facts.manifest(self.checkpoint, files)
        manifest = replace(manifest, rounding=self._rounding(quant))
        self.progress(f"{folder / MANIFEST} completes the bundle")
        return write_bundle(folder, manifest, {file.path: folder / file.path for file in files})

    def _files(self, folder: Path, quant: str) -> Iterator[BundleFile]:
        name = self.facts.name
        model = folder / f"{name}-{quant}.gguf"
        if not model.exists():
            self._write_language_model(model, quant)
        yield describe_file("language_model", model, quant=quant)
        kind = self.options.tower_of(self.checkpoint.family, quant)
        tower = folder / f"mmproj-{name}-{kind}.gguf"
        self._shared(tower, self._write_tower, kind)
        yield describe_file("mmproj", tower, quant=kind)
        if self.options.adapter is not None:
            adapter = folder / f"adapter-{name}-{_ADAPTER_TYPE}.gguf"
            self._shared(adapter, self._write_adapter, _ADAPTER_TYPE)
            yield describe_file("adapter", adapter, quant=_ADAPTER_TYPE)
        newline, separator = self.checkpoint.image_newline, folder / NEWLINE
        if newline is not None:
            np.save(separator, newline)
            yield describe_file("image_newline", separator)

    def _rounding(self, quant: str) -> object:
        """What weighed the rounding; None where nothing is rounded or nothing weighed it."""
        importance = self.options.importance
        if importance is None or quant in UNQUANTIZED:
            return None
        return {"importance": list(importance.datasets), "rows": importance.n_rows}

    def _write_language_model(self, model: Path, quant: str) -> None:
        if quant in UNQUANTIZED:
            if not (quant == self.source and link(self._work(model.name), model)):
                self._write_whole(model, cast(FloatType, quant))
            return
        whole = self._whole()
        self.progress(f"quantizing to {model}")
        options = QuantizeOptions(self.options.overrides, importance=self.options.importance)
        with writing(self.progress, model, language_bytes(self.checkpoint, quant)):
            done = quantize(whole, model, quant, options)
        if done.fallbacks:
            self.progress(f"{len(done.fallbacks)} matrices have no {quant} and stay as they are")

    def _whole(self) -> Path:
        """The file that quantization starts from: that of a bundle, or an intermediate one."""
        name = f"{self.facts.name}-{self.source}.gguf"
        bundled, whole = self.out / self.source / name, self._work(name)
        if bundled.exists():
            return bundled
        if not whole.exists():
            self._write_whole(whole, self.source)
        return whole

    def _work(self, name: str) -> Path:
        """Where an intermediate file of this name lies."""
        folder = self.out / _WORK
        folder.mkdir(exist_ok=True)
        return folder / name

    def _write_whole(self, path: Path, float_type: FloatType) -> None:
        self.progress(f"writing {path}")
        name = f"{self.facts.name} {self.facts.version}"
        with writing(self.progress, path, language_bytes(self.checkpoint, float_type)):
            write_language_model(self.checkpoint, path, float_type=float_type, name=name)

    def _shared(self, path: Path, write: Callable[[Path, str], None], kind: str) -> None:
        """Write a file once; further bundles share it where the disk can."""
        if path.exists() or any(link(other, path) for other in self.out.glob(f"*/{path.name}")):
            return
        self.progress(f"writing {path}")
        write(path, kind)

    def _write_tower(self, path: Path, kind: str) -> None:
        with writing(self.progress, path, tower_bytes(self.checkpoint, kind)):
            if kind in UNQUANTIZED:
                write_checkpoint_mmproj(self.checkpoint, path, float_type=cast(FloatType, kind))
                return
            whole = self._work(f"whole-{path.name}")
            write_checkpoint_mmproj(self.checkpoint, whole)
            quantize(whole, path, kind)

    def _write_adapter(self, path: Path, kind: str) -> None:
        if self.options.adapter is not None:
            write_adapter(
                self.options.adapter, self.checkpoint, path, float_type=cast(FloatType, kind)
            )
