"""Safetensors files of any size, read through memory maps of one tensor each.

The format is small enough to be read here: eight bytes of length, a JSON header, then the tensors'
bits without holes. Neither torch nor the safetensors package is needed, and nothing is unpickled.

Source: https://huggingface.co/docs/safetensors, section "Format".
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np

from edgecritic.errors import ArtifactError, shown
from edgecritic.strict_json import decode
from edgecritic_export.checkpoints.shard_writer import INDEX, WEIGHTS, ShardWriter
from edgecritic_export.checkpoints.tensors import (
    DTYPES,
    FLOATS,
    Bits,
    FloatArray,
    TensorInfo,
    narrowed,
    widened,
)

__all__ = [
    "Bits",
    "FloatArray",
    "ShardWriter",
    "TensorInfo",
    "TensorStore",
    "narrowed",
    "widened",
]

_MAX_HEADER_BYTES: Final = 100_000_000  # the limit of the safetensors package
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_DAMAGED: Final = "fetch the checkpoint again"


@dataclass(frozen=True, slots=True)
class _Place:
    info: TensorInfo
    file: IO[bytes]
    start: int


class TensorStore:
    """The tensors of a checkpoint, mapped one at a time when they are asked for.

    A tensor's map lives as long as the array that was given out, so memory holds no more tensors
    than the caller does.
    """

    def __init__(self, where: Path, places: Mapping[str, _Place], files: ExitStack) -> None:
        self.where = where
        self._places = places
        self._files = files

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a ``.safetensors`` file, or a folder with ``model.safetensors`` or its shards.

        Raises:
            ArtifactError: there is none, only a pickled checkpoint, or a file is damaged.
        """
        where = Path(path)
        with ExitStack() as files:
            places: dict[str, _Place] = {}
            indexed = _indexed(where)
            for shard in _shards(where, indexed):
                try:
                    file = files.enter_context(shard.open("rb"))
                    found = _read_header(file, shard)
                except OSError as error:
                    raise ArtifactError(f"{shard} cannot be read: {error}", _DAMAGED) from error
                if twice := places.keys() & found.keys():
                    raise ArtifactError(f"{where}: {min(twice)} is in two shards", _DAMAGED)
                places |= found
            if indexed is not None and indexed.keys() != places.keys():
                odd = min(indexed.keys() ^ places.keys())
                raise ArtifactError(
                    f"{where / INDEX} and the shards disagree about {odd}", _DAMAGED
                )
            return cls(where, places, files.pop_all())

    @property
    def names(self) -> tuple[str, ...]:
        """All tensors, file by file."""
        return tuple(self._places)

    def info(self, name: str) -> TensorInfo:
        """Type and shape of a tensor.

        Raises:
            ArtifactError: there is no tensor of this name.
        """
        return self._place(name).info

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self.info(name).shape

    def dtype(self, name: str) -> str:
        """Type of a tensor in the format's words, such as ``BF16``."""
        return self.info(name).dtype

    def read_raw(self, name: str) -> tuple[str, Bits]:
        """A tensor's type, and its stored bits as a read-only array over the file."""
        place = self._place(name)
        info, file = place.info, place.file
        if info.nbytes == 0:
            return info.dtype, np.empty(info.shape, DTYPES[info.dtype])
        lead = place.start % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(
            file.fileno(),
            lead + info.nbytes,
            access=mmap.ACCESS_READ,
            offset=place.start - lead,
        )
        flat: Bits = np.frombuffer(
            mapped, DTYPES[info.dtype], count=math.prod(info.shape), offset=lead
        )
        return info.dtype, flat.reshape(info.shape)

    def read(self, name: str) -> FloatArray:
        """A tensor as float32; F16 and BF16 are widened without loss.

        Raises:
            ArtifactError: it holds no floating-point numbers.
        """
        dtype, bits = self.read_raw(name)
        if dtype not in FLOATS:
            raise ArtifactError(
                f"{self.where}: {name} is {dtype}, not one of {', '.join(FLOATS)}",
                "quantised checkpoints are not read: name the full-precision one",
            )
        return widened(dtype, bits)

    def same(self, left: str, right: str) -> bool:
        """Whether two tensors have the same type, shape and bits."""
        if self.info(left) != self.info(right):
            return False
        return self.read_raw(left)[1].tobytes() == self.read_raw(right)[1].tobytes()

    def close(self) -> None:
        """Close the files; arrays that were given out stay readable."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _place(self, name: str) -> _Place:
        if name not in self._places:
            raise ArtifactError(f"{self.where} has no tensor {name}", _DAMAGED)
        return self._places[name]


def _indexed(where: Path) -> dict[str, str] | None:
    """The index's tensor names with their shards; None where there is no index."""
    path = where / INDEX
    if not where.is_dir() or not path.is_file():
        return None
    try:
        weight_map = decode(path.read_text(encoding="utf-8"))["weight_map"]
        plain = {str(name): str(shard) for name, shard in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is no index of shards: {error!r}", _DAMAGED) from error
    for shard in plain.values():
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ArtifactError(f"{path} names the shard {shown(shard)}", _DAMAGED)
    return plain


def _shards(where: Path, indexed: Mapping[str, str] | None) -> list[Path]:
    if where.is_file():
        if where.suffix == ".safetensors":
            return [where]
        raise ArtifactError(f"{where} is no .safetensors file", _SAFETENSORS_ONLY)
    if indexed is not None:
        shards = [where / name for name in sorted(set(indexed.values()))]
        if missing := [shard.name for shard in shards if not shard.is_file()]:
            raise ArtifactError(
                f"{where} lacks {len(missing)} of {len(shards)} shards: {', '.join(missing[:3])}",
                "fetch the checkpoint again; a download may have been interrupted",
            )
        return shards
    if (where / WEIGHTS).is_file():
        return [where / WEIGHTS]
    if not where.is_dir():
        raise ArtifactError(f"{where} does not exist", "name the folder of a checkpoint")
    pickles = [path.name for pattern in _PICKLES for path in sorted(where.glob(pattern))]
    if pickles:
        raise ArtifactError(
            f"{where} holds a pickled checkpoint ({pickles[0]}), which could run any code",
            _SAFETENSORS_ONLY,
        )
    raise ArtifactError(f"{where} holds neither {WEIGHTS} nor {INDEX}", _SAFETENSORS_ONLY)


_SAFETENSORS_ONLY: Final = (
    "only safetensors are read: load the model where you trust it, and write it with "
    "save_pretrained(folder)"
)


def _read_header(file: IO[bytes], path: Path) -> dict[str, _Place]:
    size = path.stat().st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
        raise ArtifactError(
            f"{path} is cut short or no safetensors file: its header has {length:,} bytes, "
            f"the file {size:,}",
            _DAMAGED,
        )
    try:
        header = decode(file.read(length).decode())
        header.pop("__metadata__", None)
        places = {name: _place(entry, file, 8 + length) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} has a damaged header: {error!r}", _DAMAGED) from error
    end = 8 + length
    for place in sorted(places.values(), key=lambda place: (place.start, place.info.nbytes)):
        if place.start != end:
            raise ArtifactError(f"{path}: its tensors overlap or leave holes", _DAMAGED)
        end += place.info.nbytes
    if end != size:
        raise ArtifactError(f"{path} has {size:,} bytes, its header tells of {end:,}", _DAMAGED)
    return places


def _place(entry: Mapping[str, Any], file: IO[bytes], data_start: int) -> _Place:
    shape = tuple(entry["shape"])
    start, end = entry["data_offsets"]
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"type {shown(entry['dtype'])} is not known")
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise ValueError(f"shape or offsets of {shown(entry)}")
    info = TensorInfo(entry["dtype"], shape)
    if end - start != info.nbytes:
        raise ValueError(f"{end - start} bytes for {info}")
    return _Place(info, file, data_start + start)
