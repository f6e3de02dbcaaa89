"""Writing safetensors shards tensor by tensor, in one step or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np

from edgecritic.errors import ArtifactError
from edgecritic.staging import temporary, write_text
from edgecritic_export.checkpoints.tensors import DTYPES, Bits, TensorInfo

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"


class ShardWriter:
    """Writes tensors one by one, in any order, into the shards that a plan laid out.

    Use it as a context manager. Every file has a temporary name until `finish` has found all
    planned tensors written; leaving the block earlier removes them.

    Args:
        folder: of the checkpoint; exists.
        plan: every tensor that will be written, in the order of the shards.
        shard_bytes: a shard holds at most as many bytes of tensors, or a single larger tensor.

    Attributes:
        written: bytes of tensors so far.
    """

    def __init__(
        self, folder: Path, plan: Mapping[str, TensorInfo], *, shard_bytes: int = 5_000_000_000
    ) -> None:
        self.folder = folder
        self._plan = plan
        groups = _grouped(plan, shard_bytes)
        names = _shard_names(len(groups))
        self._shard_of = {
            name: shard for shard, group in zip(names, groups, strict=True) for name in group
        }
        self._groups = dict(zip(names, groups, strict=True))
        self._left = set(plan)
        self.written = 0
        self._open: dict[str, _OpenShard] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all planned tensors."""
        return sum(info.nbytes for info in self._plan.values())

    def write(self, name: str, dtype: str, bits: Bits) -> None:
        """Write one tensor's stored bits.

        Raises:
            ArtifactError: it is not planned like this, or was written before.
        """
        found = TensorInfo(dtype, bits.shape)
        if name not in self._left or found != self._plan[name]:
            planned = self._plan.get(name, "nothing") if name in self._left else "nothing (more)"
            raise ArtifactError(
                f"{self.folder}: {name} comes as {found}, planned is {planned}",
                "this is a fault of the exporter: please report it",
            )
        shard = self._shard_of[name]
        if shard not in self._open:
            group = {key: self._plan[key] for key in self._groups[shard]}
            self._open[shard] = _OpenShard(self.folder / shard, group)
        self._open[shard].write(name, bits)
        self._left.remove(name)
        self.written += found.nbytes

    def finish(self) -> None:
        """Give the files their names, the index last.

        Raises:
            ArtifactError: a planned tensor was not written.
        """
        if self._left:
            raise ArtifactError(
                f"{self.folder}: {len(self._left)} planned tensors were not written, such as "
                f"{min(self._left)}",
                "this is a fault of the exporter: please report it",
            )
        for shard in self._open.values():
            shard.finish()
        if len(self._groups) > 1:
            index = {"metadata": {"total_size": self.nbytes}, "weight_map": self._shard_of}
            write_text(self.folder / INDEX, json.dumps(index, indent=2) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for shard in self._open.values():
            shard.discard()


class _OpenShard:
    """A shard under its temporary name: the header is there, tensors go to their places."""

    def __init__(self, path: Path, group: Mapping[str, TensorInfo]) -> None:
        self._path = path
        self._unfinished = temporary(path)
        # Wide types first keeps every tensor aligned to its type.
        ordered = sorted(group, key=lambda name: -DTYPES[group[name].dtype].itemsize)
        offsets: dict[str, int] = {}
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in ordered:
            info = group[name]
            offsets[name] = end
            header[name] = {
                "dtype": info.dtype,
                "shape": list(info.shape),
                "data_offsets": [end, end := end + info.nbytes],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._places = {name: 8 + len(text) + offset for name, offset in offsets.items()}
        self._file = self._unfinished.open("wb")
        self._file.write(len(text).to_bytes(8, "little") + text)
        self._file.truncate(8 + len(text) + end)

    def write(self, name: str, bits: Bits) -> None:
        self._file.seek(self._places[name])
        self._file.write(np.ascontiguousarray(bits).data)

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._unfinished.replace(self._path)

    def discard(self) -> None:
        self._file.close()
        self._unfinished.unlink(missing_ok=True)


def _grouped(plan: Mapping[str, TensorInfo], shard_bytes: int) -> Sequence[list[str]]:
    groups: list[list[str]] = [[]]
    filled = 0
    for name, info in plan.items():
        if groups[-1] and filled + info.nbytes > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += info.nbytes
    return groups


def _shard_names(count: int) -> list[str]:
    if count == 1:
        return [WEIGHTS]
    return [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
