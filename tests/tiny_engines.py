"""One tiny checkpoint as bundles for every engine, by the project's own exporters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgecritic.bundle import Bundle, describe_file, write_bundle
from edgecritic.graphs.decoder import write_decoder
from edgecritic.graphs.precision import DecoderPrecision
from edgecritic.manifest import BundleFile, Calibration, DialectRef, Manifest, Role
from edgecritic.prompts import load_dialect
from edgecritic.task import Rubric
from edgecritic.vision import ImageGeometry
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.file import FloatType
from edgecritic_export.gguf.language_model import write_language_model
from edgecritic_export.gguf.mmproj import write_checkpoint_mmproj
from edgecritic_export.onnx.decoder import CheckpointLanguageModel
from edgecritic_export.onnx.layout import OnnxOptions, export_onnx
from edgecritic_export.onnx.precision import Variant
from tiny_checkpoints import PATCH_SIZE, PINPOINTS, TILE_SIZE

GEOMETRY = ImageGeometry(TILE_SIZE, PATCH_SIZE, tuple((h, w) for h, w in PINPOINTS), anyres_max=3)


def tiny_manifest(files: Sequence[BundleFile] = ()) -> Manifest:
    """A manifest of LLaVA-OneVision whose image geometry is `GEOMETRY`."""
    return Manifest(
        name="tiny",
        version="1",
        family="llava_onevision",
        files=tuple(files),
        base_model="random",
        dialect=DialectRef("edgecritic-v1", load_dialect().digest),
        rubric=Rubric(),
        n_ctx=1024,
        image=GEOMETRY,
        calibration=Calibration(),
        licence="Apache-2.0",
        training=None,
        verification=None,
        good_for=(),
        bad_for=("everything",),
        created="2026-11-23",
    )


def write_onnx_bundles(
    checkpoint: Path, out: Path, variants: tuple[Variant, ...] = ("fp32",)
) -> dict[Variant, Bundle]:
    """A bundle for each variant."""
    with Checkpoint.open(checkpoint) as opened:
        return export_onnx(
            opened, out, tiny_manifest(), OnnxOptions(variants=variants, external=False)
        )


def write_branching_bundle(checkpoint: Path, plain: Bundle, out: Path) -> Bundle:
    """A bundle in ONNX whose decoder, in float32, computes several sequences at once."""
    path = out / "made" / "branching.onnx"
    path.parent.mkdir(parents=True)
    with Checkpoint.open(checkpoint) as opened:
        precision = DecoderPrecision.uniform("fp32", opened.text.n_layers)
        weights = CheckpointLanguageModel(opened)
        write_decoder(weights, path, precision, external=False, branching=True)
    kept = [file for file in plain.manifest.files if file.role != "decoder"]
    files = (*kept, describe_file("decoder", path, path.name))
    sources = {file.path: plain.folder / file.path for file in kept} | {path.name: path}
    return write_bundle(out / "bundle", replace(plain.manifest, files=files), sources)


def write_gguf_bundle(checkpoint: Path, out: Path, float_type: FloatType = "F32") -> Bundle:
    """Language model and mmproj in one float type."""
    made: dict[Role, Path] = {
        "language_model": out / "made" / "model.gguf",
        "mmproj": out / "made" / "mmproj.gguf",
    }
    (out / "made").mkdir(parents=True)
    with Checkpoint.open(checkpoint) as opened:
        write_language_model(opened, made["language_model"], float_type=float_type)
        write_checkpoint_mmproj(opened, made["mmproj"], float_type=float_type)
        if opened.image_newline is not None:
            made["image_newline"] = out / "made" / "newline.npy"
            np.save(made["image_newline"], opened.image_newline)
        return _bundle(out, opened, [(role, path, path.name) for role, path in made.items()])


def write_hf_bundle(checkpoint: Path, out: Path, adapter: Path | None = None) -> Bundle:
    """The checkpoint itself, with an adapter in a folder below it or without."""
    out.mkdir(parents=True)
    listed: list[tuple[Role, Path, str]] = []
    for folder, prefix in ((checkpoint, ""), (adapter, "adapter/")):
        for path in sorted(folder.iterdir()) if folder is not None else ():
            if path.suffix in (".safetensors", ".json"):
                role: Role = "checkpoint" if path.suffix == ".safetensors" else "config"
                listed.append((role, path, f"{prefix}{path.name}"))
    with Checkpoint.open(checkpoint) as opened:
        if opened.image_newline is not None:
            newline = out / "made.npy"
            np.save(newline, opened.image_newline)
            listed.append(("image_newline", newline, "newline.npy"))
        return _bundle(out, opened, listed)


def _bundle(out: Path, checkpoint: Checkpoint, listed: Sequence[tuple[Role, Path, str]]) -> Bundle:
    files = tuple(describe_file(role, path, name) for role, path, name in listed)
    facts = CriticFacts("tiny", "1", "random", "Apache-2.0", n_ctx=1024, bad_for=("everything",))
    sources = {name: path for _, path, name in listed}
    return write_bundle(out / "bundle", facts.manifest(checkpoint, files), sources)
