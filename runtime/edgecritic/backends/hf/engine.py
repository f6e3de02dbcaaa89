"""`HfBackend`: the `Backend` Protocol over transformers, the reference for the other engines."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from edgecritic.backends.base import BackendInfo
from edgecritic.backends.hf.artifacts import (
    QWEN,
    TOKENIZER,
    CheckpointFacts,
    check_adapter,
    check_checkpoint,
)
from edgecritic.backends.options import EngineOptions
from edgecritic.backends.sequential import SequentialBackend
from edgecritic.backends.tokens import JsonTokenizer, configured_ends
from edgecritic.errors import ArtifactError
from edgecritic.vision.geometries import Geometry
from edgecritic.vision.geometry import ImageGeometry


class HfBackend(SequentialBackend[Any]):
    """A critic on transformers: LLaVA-OneVision or Qwen2.5-VL, with a LoRA adapter or without.

    The number of threads holds for all of torch in this process; it is left alone unless asked
    for.

    Args:
        folder: checkpoint in transformers' layout, with ``tokenizer.json``.
        adapter: folder in PEFT's layout, or None.
        listed: the files that were verified, and that alone may be read; None trusts the folder.
        geometry: of its pictures; without one it reads text only.
        options: context, threads, device, weights, `n_batch`.

    Raises:
        MissingExtraError: torch, transformers or a package for these weights is not installed.
        ArtifactError: the folder is incomplete, damaged or of another model.
        BackendUnavailableError: the device asked for is not there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        adapter: Path | None = None,
        listed: Collection[Path] | None = None,
        geometry: Geometry | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        options = options or EngineOptions()
        facts = check_checkpoint(folder, listed)
        _check_geometry(facts, geometry)
        if adapter is not None:
            check_adapter(adapter, listed)

        from edgecritic.backends.hf.loading import (
            apply_adapter,
            choose_device,
            load_model,
            require_engine,
        )

        require_engine()
        tokenizer = JsonTokenizer(folder / TOKENIZER, facts.n_vocab, extra="hf")
        device = choose_device(options.device)
        model = load_model(facts, device, options.weights)
        if adapter is not None:
            model = apply_adapter(model, adapter)

        import torch
        import transformers

        from edgecritic.backends.hf.model import HfModel

        if options.n_threads is not None:
            torch.set_num_threads(options.n_threads)
        hosted = HfModel(model, geometry, options.n_ctx)
        info = BackendInfo(
            name="hf",
            engine=f"transformers {transformers.__version__} (torch {torch.__version__})",
            device="cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
            n_ctx=options.n_ctx,
            n_embd=facts.n_embd,
            n_vocab=facts.n_vocab,
            max_sequences=options.max_sequences,
            end_tokens=tokenizer.end_tokens(configured_ends(facts.configs)),
            cell_bytes=hosted.memory.cell_bytes,
            grid_positions=facts.model_type == QWEN,
        )
        super().__init__(hosted, tokenizer, info, options.n_batch)


def _check_geometry(facts: CheckpointFacts, geometry: Geometry | None) -> None:
    if geometry is None:
        return
    tile_size = geometry.tile_size if isinstance(geometry, ImageGeometry) else None
    if (tile_size, geometry.patch_size) != (facts.tile_size, facts.patch_size):
        raise ArtifactError(
            f"{facts.folder} has a vision tower for {_pictures(facts.tile_size, facts.patch_size)}"
            f", the bundle's are {_pictures(tile_size, geometry.patch_size)}",
            "use the checkpoint that was exported with this bundle",
        )


def _pictures(tile_size: int | None, patch_size: int) -> str:
    kind = "pictures of any size" if tile_size is None else f"tiles of {tile_size} pixels"
    return f"{kind} in patches of {patch_size}"
