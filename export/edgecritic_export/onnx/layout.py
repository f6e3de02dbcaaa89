"""A checkpoint as a folder that transformers.js loads, and a bundle for each of its variants.

::

    out/config.json, tokenizer.json, ...     what transformers.js reads
    out/onnx/decoder_model_merged_q4.onnx    the graphs of all variants
    out/variants/q4/critic.json              a bundle: the same files, linked

A variant's folder is complete in itself, and transformers.js loads it as well.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from edgecritic.bundle import Bundle, describe_file, write_bundle
from edgecritic.errors import ArtifactError
from edgecritic.graphs.decoder import DECODER, EMBED_TOKENS
from edgecritic.graphs.model_file import DATA_SUFFIX
from edgecritic.graphs.precision import DecoderPrecision, Precision
from edgecritic.manifest import Manifest, Role
from edgecritic.prompts import load_dialect
from edgecritic.staging import bytes_written, link, synced, temporary, write_text
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.decoder import write_decoder, write_embed_tokens
from edgecritic_export.onnx.options import OnnxOptions
from edgecritic_export.onnx.precision import (
    SUFFIXES,
    Variant,
    VariantSpec,
)
from edgecritic_export.onnx.quantize import usual_eight_bit
from edgecritic_export.onnx.settings import (
    CONFIG,
    TOKENIZER,
    dumps,
    graph_names,
    model_config,
    write_settings,
)
from edgecritic_export.onnx.sizes import decoder_bytes, embedding_bytes, vision_bytes
from edgecritic_export.onnx.vision import VISION_ENCODER, write_vision
from edgecritic_export.progress import SILENCE, Progress, writing

__all__ = ["OnnxOptions", "export_onnx"]

NEWLINE: Final = "image_newline.npy"
_ROLES: Final[Mapping[str, Role]] = {
    DECODER: "decoder",
    EMBED_TOKENS: "embed_tokens",
    VISION_ENCODER: "vision_encoder",
}
_QUANTS: Final[Mapping[Precision, str]] = {
    "fp32": "F32",
    "fp16": "F16",
    "int8": "Q8",
    "int4": "Q4",
}


def export_onnx(
    checkpoint: Checkpoint,
    out: Path,
    described: Manifest,
    options: OnnxOptions | None = None,
    progress: Progress = SILENCE,
    *,
    keep: bool = False,
) -> dict[Variant, Bundle]:
    """Write a critic in the layout of transformers.js, and as bundles.

    Every file appears whole or not at all; graphs that several variants share are written once.

    Args:
        checkpoint: LLaVA-OneVision, adapters merged.
        out: made if need be.
        described: what the bundles say about the critic; its files are filled in here.
        options: what to write.
        progress: is told the name of each file before it is written, and shown how far it is.
        keep: graphs that are there are of this very export and are not written again.

    Returns:
        For each variant its bundle.

    Raises:
        ArtifactError: the checkpoint cannot be exported.
        MissingExtraError: onnx, torch or transformers is not installed.
    """
    options = options or OnnxOptions()
    onnx = out / "onnx"
    onnx.mkdir(parents=True, exist_ok=True)
    specs = {variant: options.spec(variant) for variant in options.variants}
    _write_graphs(checkpoint, onnx, specs.values(), options, progress, keep=keep)
    dialect = load_dialect(described.dialect.name)
    shared = (*write_settings(checkpoint, dialect, out), _write_newline(checkpoint, out / NEWLINE))
    default = options.spec(options.default or options.variants[-1])
    write_text(out / CONFIG, dumps(model_config(checkpoint, default, onnx)))
    bundles = {}
    for variant, spec in specs.items():
        progress(variant)
        folder = out / "variants" / variant
        said = replace(described, rounding=_rounding(checkpoint, spec, options))
        bundles[variant] = _bundle(checkpoint, folder, spec, shared, said)
    return bundles


def planned_graphs(checkpoint: Checkpoint, options: OnnxOptions) -> dict[str, int]:
    """Bytes of each graph with its weights, estimated, by its file's name."""
    found: dict[str, int] = {}
    for spec in map(options.spec, options.variants):
        names = graph_names(spec)
        bits = _decoder_precision(checkpoint, spec, options)
        found[names[DECODER]] = decoder_bytes(checkpoint, bits)
        found[names[EMBED_TOKENS]] = embedding_bytes(checkpoint, spec.embed_tokens)
        found[names[VISION_ENCODER]] = vision_bytes(checkpoint, spec.vision)
    return found


def remove_variant(out: Path, variant: Variant, options: OnnxOptions) -> None:
    """Remove a variant's folder, and those of its graphs that none of `options` has.

    Args:
        out: folder of the export.
        variant: none of `options`.
        options: what stays.
    """
    shutil.rmtree(out / "variants" / variant, ignore_errors=True)
    kept = {name for other in options.variants for name in _graphs(options.spec(other))}
    for name in set(_graphs(options.spec(variant))) - kept:
        (out / "onnx" / name).unlink(missing_ok=True)
        (out / "onnx" / (name + DATA_SUFFIX)).unlink(missing_ok=True)


def _graphs(spec: VariantSpec) -> Collection[str]:
    return graph_names(spec).values()


def _write_graphs(
    checkpoint: Checkpoint,
    onnx: Path,
    specs: Collection[VariantSpec],
    options: OnnxOptions,
    progress: Progress,
    *,
    keep: bool,
) -> None:
    for spec in {spec.decoder_suffix: spec for spec in specs}.values():
        path = onnx / graph_names(spec)[DECODER]
        if keep and path.exists():
            continue
        progress(path.name)
        bits = _decoder_precision(checkpoint, spec, options)
        importance = None if options.choice is None else options.choice.importance
        with writing(progress, path, decoder_bytes(checkpoint, bits)):
            write_decoder(checkpoint, path, bits, importance=importance, external=options.external)
    for embedding in dict.fromkeys(spec.embed_tokens for spec in specs):
        path = onnx / f"{EMBED_TOKENS}{SUFFIXES[embedding]}.onnx"
        if keep and path.exists():
            continue
        progress(path.name)
        with writing(progress, path, embedding_bytes(checkpoint, embedding)):
            write_embed_tokens(checkpoint, path, embedding, external=options.external)
    targets = {spec.vision: onnx / graph_names(spec)[VISION_ENCODER] for spec in specs}
    targets = {part: path for part, path in targets.items() if not (keep and path.exists())}
    if not targets:
        return
    for path in targets.values():
        progress(path.name)
    planned = sum(vision_bytes(checkpoint, vision) for vision in targets)
    with progress.measured(
        VISION_ENCODER, planned, lambda: sum(map(bytes_written, targets.values()))
    ):
        write_vision(checkpoint, targets, external=options.external)


def _decoder_precision(
    checkpoint: Checkpoint, spec: VariantSpec, options: OnnxOptions
) -> DecoderPrecision:
    n_layers = checkpoint.text.n_layers
    if spec.decoder != "int4":
        return DecoderPrecision.uniform(spec.decoder, n_layers)
    choice = options.choice
    kept = usual_eight_bit(n_layers) if choice is None else choice.eight_bit
    return DecoderPrecision.mixed(n_layers, kept, spec.activations)


def _rounding(checkpoint: Checkpoint, spec: VariantSpec, options: OnnxOptions) -> object:
    """Which layers of a four-bit decoder stay at eight bits, and why; None for other decoders."""
    if spec.decoder != "int4":
        return None
    kept = list(_decoder_precision(checkpoint, spec, options).eight_bit)
    choice = options.choice
    if choice is None:
        why = "the outer layers and every third: nothing was measured"
        return {"eight_bit_layers": kept, "chosen": why}
    return {
        "eight_bit_layers": kept,
        "chosen": f"measured on {choice.measured_on or 'calibration rows'}",
        "kl_to_eight_bits": choice.kl,
        "kl_of_each_layer_alone": list(choice.alone),
    }


def _write_newline(checkpoint: Checkpoint, path: Path) -> Path:
    newline = checkpoint.image_newline
    if newline is None:
        raise ArtifactError(f"{checkpoint.folder} has no image newline", "export it to GGUF")
    unfinished = temporary(path)
    with unfinished.open("wb") as file:
        np.save(file, newline)
        synced(file)
    unfinished.replace(path)
    return path


def _bundle(
    checkpoint: Checkpoint,
    folder: Path,
    spec: VariantSpec,
    shared: Sequence[Path],
    described: Manifest,
) -> Bundle:
    """Link a variant's files into a folder of its own, and write its manifest."""
    out = shared[0].parent
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    listed: list[tuple[Role, Path, str]] = []
    quants = {
        DECODER: _QUANTS[spec.decoder],
        EMBED_TOKENS: _QUANTS[spec.embed_tokens],
        VISION_ENCODER: _QUANTS[spec.vision],
    }
    for part, name in graph_names(spec).items():
        graph = out / "onnx" / name
        listed.append((_ROLES[part], graph, quants[part]))
        data = graph.with_name(name + DATA_SUFFIX)
        if data.exists():
            listed.append(("external_data", data, ""))
    roles: dict[str, Role] = {TOKENIZER: "tokenizer", NEWLINE: "image_newline"}
    listed += [(roles.get(path.name, "config"), path, "") for path in shared]
    for _, path, _ in listed:
        link(path, folder / path.relative_to(out))  # where it cannot, `write_bundle` copies
    config = folder / CONFIG
    write_text(config, dumps(model_config(checkpoint, spec, folder / "onnx")))
    listed.append(("config", config, ""))
    sources = {
        path.relative_to(folder if path == config else out).as_posix(): path
        for _, path, _ in listed
    }
    files = tuple(
        describe_file(role, path, name, quant)
        for name, (role, path, quant) in zip(sources, listed, strict=True)
    )
    manifest = replace(described, files=files, image=checkpoint.geometry)
    return write_bundle(folder, manifest, sources)
