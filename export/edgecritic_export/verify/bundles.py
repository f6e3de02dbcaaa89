"""Bundles against the checkpoint they were made from; the outcome goes into card and manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from edgecritic import Bundle
from edgecritic.backends import ENGINES, choose_backend, load_backend
from edgecritic.backends.hf import HfBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import write_bundle
from edgecritic.manifest import Manifest, Role
from edgecritic.pictures import NativeVision, Vision, VisionProfile
from edgecritic.profile import CriticProfile
from edgecritic.prompts import load_dialect
from edgecritic.vision import NativeGeometry
from edgecritic_export.card import write_card
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.provenance import fingerprint
from edgecritic_export.verify.checks import Verification, compare
from edgecritic_export.verify.limits import limits_of
from edgecritic_export.verify.observe import Observation, observe
from edgecritic_export.verify.rows import Row, read_rows

Tell: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How to verify.

    Attributes:
        rows: an evaluation set, with ``items.jsonl``.
        limit: pairs to judge.
        reference: of the engine that runs the checkpoint.
        export: of the engines that run the bundles.
        adapter: folder of a LoRA adapter that belongs to the checkpoint, or None.
    """

    rows: Path
    limit: int = 40
    reference: EngineOptions = field(default_factory=lambda: EngineOptions(weights="fp32"))
    export: EngineOptions = field(default_factory=EngineOptions)
    adapter: Path | None = None


def verify_bundles(
    bundles: Sequence[Bundle], checkpoint: Checkpoint, options: VerifyOptions, tell: Tell
) -> list[Verification]:
    """Judge the same rows with the checkpoint and with each bundle, one engine at a time.

    The outcome is written into ``critic.json`` and the model card, also where it is bad.

    Args:
        bundles: made from the checkpoint.
        checkpoint: open; run by transformers.
        options: rows and engines.
        tell: is told what goes on.

    Raises:
        CriticError: an engine is missing or cannot run its files, or the rows cannot be used.
    """
    rows = list(read_rows(options.rows, options.limit))
    reference = _reference(bundles[0].manifest, checkpoint, rows, options, tell)
    return [_verify(bundle, reference, rows, options, tell) for bundle in bundles]


def _reference(
    manifest: Manifest,
    checkpoint: Checkpoint,
    rows: Sequence[Row],
    options: VerifyOptions,
    tell: Tell,
) -> list[Observation]:
    geometry, newline = checkpoint.geometry, checkpoint.image_newline
    tower = fingerprint(checkpoint.folder)
    vision: Vision | None = None
    if isinstance(geometry, NativeGeometry):
        vision = NativeVision(geometry, tower)
    elif newline is not None:
        vision = VisionProfile(geometry, newline, tower)
    profile = CriticProfile(manifest.name, load_dialect(manifest.dialect.name), vision=vision)
    engine = replace(options.reference, n_ctx=manifest.n_ctx)
    backend = HfBackend(
        checkpoint.folder, adapter=options.adapter, geometry=checkpoint.geometry, options=engine
    )
    try:
        return observe(backend, profile, rows, _counting(tell, "checkpoint", len(rows)))
    finally:
        backend.close()


def _verify(
    bundle: Bundle,
    reference: Sequence[Observation],
    rows: Sequence[Row],
    options: VerifyOptions,
    tell: Tell,
) -> Verification:
    chosen = choose_backend(bundle, "auto")
    engine = replace(options.export, n_ctx=bundle.manifest.n_ctx)
    backend = load_backend(bundle, chosen, engine)
    try:
        profile = CriticProfile.of(bundle, ENGINES[chosen].format)
        seen = observe(backend, profile, rows, _counting(tell, bundle.folder.name, len(rows)))
        ran = backend.info.engine
    finally:
        backend.close()
    verification = compare(reference, seen, limits_of(_quant(bundle.manifest)))
    record(bundle, verification, ran)
    tell(f"{bundle.folder.name}: {'verified' if verification.passed else 'NOT verified'}")
    return verification


def record(bundle: Bundle, verification: Verification, engine: str) -> Bundle:
    """Write a verification into a bundle's manifest and card.

    Args:
        bundle: whose files were checked.
        verification: the outcome.
        engine: what ran the bundle.
    """
    found = {**verification.to_dict(), "engine": engine}
    manifest = replace(bundle.manifest, verification=found)
    inside = [file for file in manifest.files if not file.external]
    sources = {file.path: bundle.folder / file.path for file in inside}
    written = write_bundle(bundle.folder, manifest, sources)
    write_card(bundle.folder, manifest)
    return written


def _quant(manifest: Manifest) -> str:
    roles: tuple[Role, ...] = ("language_model", "decoder", "checkpoint")
    return next(file.quant for role in roles for file in manifest.having(role)) or "F32"


def _counting(tell: Tell, name: str, total: int) -> Callable[[int], None]:
    def count(done: int) -> None:
        if done % 10 == 0 or done == total:
            tell(f"{name}: {done} of {total} pairs judged")

    return count
