"""Adapters merged into their base, one tensor at a time."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from edgecritic.errors import ArtifactError
from edgecritic.staging import staged_folder
from edgecritic_export.checkpoints.adapter import Adapter
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.nf4 import nf4_round_trip
from edgecritic_export.checkpoints.provenance import (
    RECORD,
    check_disk,
    fingerprint,
    finished,
    write_record,
)
from edgecritic_export.checkpoints.store import (
    Bits,
    FloatArray,
    ShardWriter,
    narrowed,
    widened,
)
from edgecritic_export.checkpoints.training import SUMMARY, check_kind, trained_over_nf4
from edgecritic_export.progress import SILENCE, Progress

_SETTINGS: Final = (".json", ".txt", ".jinja", ".model")
_INDEX_SUFFIX: Final = ".index.json"
# What QLoRA keeps in four bits: the linear layers of the language model, but not its head.
_QUANTISED: Final = re.compile(r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight")


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did.

    Attributes:
        folder: of the merged checkpoint.
        written: False where it was there already.
        adapted: tensors with an update.
        replaced: tensors that were trained whole.
        largest_change: of the tensors that the adapter touches the largest relative change, in
            Frobenius norm.
        most_changed: name of that tensor.
        vanished: tensors whose update is lost in the rounding to the base's type. One that was
            trained whole and got no gradient is not among them: it has no update.
        base_model: what the base is called.
    """

    folder: Path
    written: bool
    adapted: int
    replaced: int
    largest_change: float
    most_changed: str
    vanished: tuple[str, ...]
    base_model: str = ""


def merge_adapter(
    base: str | os.PathLike[str],
    adapter: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dequantise: bool | None = None,
    double_quantised: bool = True,
    base_model: str = "",
    shard_bytes: int = 5_000_000_000,
    progress: Progress = SILENCE,
) -> Merged:
    """Write a base checkpoint with an adapter merged into it, in the base's types.

    Sums are taken in float32. `out` appears when it is complete; if it was made from these folders
    with these options before, nothing is done.

    Args:
        base: checkpoint folder in transformers' layout.
        adapter: PEFT folder of LoRA, rank-stabilised LoRA or DoRA, perhaps with trained modules.
        out: folder to make.
        dequantise: the adapter was trained over NF4 (QLoRA): the language model's linear layers,
            adapted or not, are rounded as NF4 rounds them first, because that is the model that
            the adapter corrects. False merges into the weights as they are. None asks the summary
            of the training beside the adapter; without one it is as if True.
        double_quantised: NF4's scales were in 8 bits, as with ``bnb_4bit_use_double_quant``.
        base_model: what the base is called, for the cards of what is made of the result.
        shard_bytes: of tensors in one file.
        progress: is shown how much is written.

    Raises:
        ArtifactError: base or adapter cannot be used, they do not belong together, the adapter
            changes nothing, `out` holds something else, or the disk is too small.
    """
    target = Path(out)
    if dequantise is None:
        dequantise = trained_over_nf4(Path(adapter)) is not False
    inputs = {
        "made_by": "merge",
        "schema": 1,
        "base": fingerprint(Path(base)),
        "adapter": fingerprint(Path(adapter)),
        "dequantise": dequantise,
        "double_quantised": dequantise and double_quantised,
    }
    earlier = finished(target, inputs)
    if earlier is not None:
        return Merged(target, False, **{**earlier, "vanished": tuple(earlier["vanished"])})
    with Checkpoint.open(base) as checkpoint, Adapter.open(Path(adapter), checkpoint) as update:
        check_kind(update.folder, checkpoint.family)
        store = checkpoint.store
        plan = {name: store.info(name) for name in store.names}
        check_disk(target, sum(info.nbytes for info in plan.values()))
        merge = _Merge(checkpoint, update, dequantise, double_quantised)
        with staged_folder(target) as staged:
            _copy_settings(checkpoint.folder, staged)
            if (summary := update.folder / SUMMARY).is_file():
                shutil.copyfile(summary, staged / SUMMARY)
            with (
                ShardWriter(staged, plan, shard_bytes=shard_bytes) as writer,
                progress.measured(target.name, writer.nbytes, lambda: writer.written),
            ):
                for name, info in plan.items():
                    writer.write(name, info.dtype, merge.bits(name))
                writer.finish()
            merged = replace(merge.result(target), base_model=base_model)
            Checkpoint.open(staged).close()
            write_record(staged, inputs, _recorded(merged))
    return merged


class _Merge:
    """Computes the tensors of a merged checkpoint, and remembers what changed."""

    def __init__(
        self, base: Checkpoint, adapter: Adapter, dequantise: bool, double_quantised: bool
    ) -> None:
        self._base = base
        self._adapter = adapter
        self._double_quantised = double_quantised
        self._quantised = (
            {
                stored
                for short, stored in base.language_tensors().items()
                if _QUANTISED.fullmatch(short)
            }
            if dequantise
            else set()
        )
        self._changes: dict[str, float] = {}
        self._unchanged = 0
        self.vanished: list[str] = []

    def bits(self, name: str) -> Bits:
        """What is stored for a tensor of the base."""
        adapter, (dtype, stored) = self._adapter, self._base.store.read_raw(name)
        if name in adapter.replaced:
            trained = adapter.store.read(adapter.replaced[name])
            return self._noted(name, dtype, widened(dtype, stored), trained)
        if name not in self._quantised and name not in adapter.updates:
            return stored
        weight = widened(dtype, stored)
        if name in self._quantised:
            restored = nf4_round_trip(weight, double_quantised=self._double_quantised)
            weight = widened(dtype, narrowed(dtype, restored))  # as bitsandbytes hands it out
        if name in adapter.updates:
            return self._noted(name, dtype, weight, adapter.applied(name, weight))
        return narrowed(dtype, weight)

    def _noted(self, name: str, dtype: str, before: FloatArray, after: FloatArray) -> Bits:
        if not np.isfinite(after).all():
            raise ArtifactError(
                f"{self._adapter.folder}: {name} is not finite after merging",
                "the training may have diverged: name an earlier checkpoint of it",
            )
        bits = narrowed(dtype, after)
        if np.array_equal(bits, narrowed(dtype, before)):
            self._unchanged += 1
            if not np.array_equal(after, before):
                self.vanished.append(name)
        length = float(np.linalg.norm(before))
        self._changes[name] = float(np.linalg.norm(after - before)) / (length or 1.0)
        return bits

    def result(self, target: Path) -> Merged:
        """What was done.

        Raises:
            ArtifactError: nothing changed.
        """
        if self._unchanged == len(self._changes):
            raise ArtifactError(
                f"{self._adapter.folder}: no weight of {self._base.folder} changes by this adapter",
                "it was trained too little, or the base is stored too coarsely: merge into F32",
            )
        most_changed = max(self._changes, key=self._changes.__getitem__)
        return Merged(
            folder=target,
            written=True,
            adapted=len(self._adapter.updates),
            replaced=len(self._adapter.replaced),
            largest_change=self._changes[most_changed],
            most_changed=most_changed,
            vanished=tuple(self.vanished),
        )


def _recorded(merged: Merged) -> dict[str, object]:
    facts = asdict(merged)
    return {key: facts[key] for key in facts.keys() - {"folder", "written"}}


def _copy_settings(folder: Path, target: Path) -> None:
    for path in sorted(folder.iterdir()):
        plain = path.is_file() and not path.name.startswith(".") and path.name != RECORD
        if plain and path.suffix in _SETTINGS and not path.name.endswith(_INDEX_SUFFIX):
            shutil.copyfile(path, target / path.name)
