"""From a set of judged items to the importance matrix of a critic's language model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from edgecritic import Bundle, InputError
from edgecritic.backends import load_backend
from edgecritic.backends.base import Backend, Span
from edgecritic.backends.options import EngineOptions
from edgecritic.profile import CriticProfile
from edgecritic.staging import scratch_folder
from edgecritic_export.bundles.facts import CriticFacts
from edgecritic_export.bundles.gguf import GgufOptions, export_gguf, source_type
from edgecritic_export.bundles.plan import Plan, announce
from edgecritic_export.bundles.stages import gguf_stage
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.calibration import critic_rows
from edgecritic_export.gguf.forward import ForwardOptions
from edgecritic_export.gguf.imatrix import ImportanceMatrix, collect, without_pictures
from edgecritic_export.progress import Progress

_FLOATS: Final = ("F32", "F16", "BF16")
_TELL_EVERY: Final = 10


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """What a critic is calibrated on, and by which engine.

    Attributes:
        items: an evaluation set, with ``items.jsonl``, that the critic was not trained on and
            will not be verified on.
        limit: items to use.
        text_only: leave the pictures out, as calibration on plain text would.
        engine: threads and device; its context bounds the rows.
        dialect: the prompts that a checkpoint was trained with, its family's when left out; a
            bundle says so itself.
    """

    items: Path
    limit: int = 64
    text_only: bool = False
    engine: EngineOptions = field(default_factory=EngineOptions)
    dialect: str | None = None


def checkpoint_importance(
    checkpoint: Checkpoint, out: Path, options: CalibrationOptions, progress: Progress
) -> ImportanceMatrix:
    """The importance matrix of a checkpoint, by way of a GGUF file that is removed again.

    Args:
        checkpoint: open.
        out: where the matrix will be; beside it is room for the language model in its own type.
        options: the rows.
        progress: is told what goes on.

    Raises:
        CriticError: see `bundle_importance`; or the disk is too small.
    """
    with scratch_folder(out) as made:
        kind = source_type(checkpoint)
        # Removed again before anybody could read what its manifest says.
        n_ctx = options.engine.n_ctx
        facts = CriticFacts("calibration", "0", "unknown", "unknown", options.dialect, n_ctx=n_ctx)
        gguf = GgufOptions((kind,))
        announce(Plan((gguf_stage(checkpoint, facts.name, gguf),)), made, progress)
        (bundle,) = export_gguf(checkpoint, made, facts, gguf, progress)
        return bundle_importance(bundle, options, progress)


def bundle_importance(
    bundle: Bundle, options: CalibrationOptions, progress: Progress
) -> ImportanceMatrix:
    """Lay out judgements with their pictures, and see what they drive.

    Args:
        bundle: GGUF, its language model not quantized.
        options: the rows.
        progress: is told what goes on.

    Raises:
        InputError: the bundle is quantized or has an adapter, or the items cannot be used.
        CriticError: the engine is missing or cannot run the bundle.
    """
    _check(bundle)
    n_ctx = min(options.engine.n_ctx, bundle.manifest.n_ctx)
    engine = replace(options.engine, n_ctx=n_ctx, max_sequences=1)
    model = bundle.file("language_model")
    content = "text only" if options.text_only else "with pictures"
    backend = load_backend(bundle, "llamacpp", engine)
    try:
        rows = _rows(bundle, backend, options, progress)
        forward = ForwardOptions(
            n_ctx=n_ctx, n_threads=engine.n_threads, use_gpu=engine.device != "cpu"
        )
        return collect(model, rows, (f"{options.items.name}: judgements, {content}",), forward)
    finally:
        backend.close()


def _check(bundle: Bundle) -> None:
    models = bundle.manifest.having("language_model")
    if not models or models[0].quant not in _FLOATS or bundle.manifest.having("adapter"):
        found = models[0].quant if models else "no GGUF file"
        adapted = ", with an adapter" if bundle.manifest.having("adapter") else ""
        raise InputError(
            f"the language model of {bundle.folder} is {found}{adapted}: importance is measured "
            f"on a merged model in {', '.join(_FLOATS)}",
            "name the checkpoint itself, or a bundle in one of these types",
        )


def _rows(
    bundle: Bundle, backend: Backend, options: CalibrationOptions, progress: Progress
) -> Iterator[tuple[Span, ...]]:
    profile = CriticProfile.of(bundle, "gguf")
    rows = critic_rows(options.items, backend, profile, limit=options.limit)
    for number, row in enumerate(rows, 1):
        yield without_pictures(row.spans) if options.text_only else row.spans
        if number % _TELL_EVERY == 0:
            progress(f"{number} of {options.limit} rows read")
