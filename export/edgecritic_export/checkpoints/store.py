"""Safetensors files of any size: tensors are read from a memory map and written one by one.

The format is small enough to be read here: eight bytes of length, a JSON header, then the tensors'
bits without holes. Neither torch nor the safetensors package is needed, and nothing is unpickled.

Source: https://huggingface.co/docs/safetensors, section "Format".
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import ArtifactError, shown
from edgecritic.strict_json import decode

FloatArray: TypeAlias = NDArray[np.float32]
Bits: TypeAlias = NDArray[Any]
"""A tensor as it is stored; numpy has no bfloat16, so BF16 comes as uint16."""

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    name: np.dtype(code)
    for name, code in {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "BF16": "<u2",
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "i1",
        "U8": "u1",
        "BOOL": "?",
    }.items()
}
_FLOATS: Final = ("F64", "F32", "F16", "BF16")
_MAX_HEADER_BYTES: Final = 100_000_000  # the limit of the safetensors package
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_DAMAGED: Final = "fetch the checkpoint again"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor's type and form.

    Attributes:
        dtype: safetensors' name of it, a key of `DTYPES`.
        shape: in numpy's order of dimensions.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its bits."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


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
        if dtype not in _FLOATS:
            raise ArtifactError(
                f"{self.where}: {name} is {dtype}, not one of {', '.join(_FLOATS)}",
                "quantised checkpoints are not read: name the full-precision one",
            )
        return widened(dtype, bits)

    def close(self) -> None:
        """Close the files; arrays that were given out stay readable."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _place(self, name: str) -> _Place:
        if name not in self._places:
            raise ArtifactError(f"{self.where} has no tensor {name}", _DAMAGED)
        return self._places[name]


def widened(dtype: str, bits: Bits) -> FloatArray:
    """Stored bits of a floating-point type as float32."""
    if dtype == "BF16":
        wide = bits.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return bits.astype(np.float32)


def narrowed(dtype: str, values: FloatArray) -> Bits:
    """The stored bits of float32 values, rounded to nearest even; `widened` reads them back.

    Raises:
        ArtifactError: `dtype` is no floating-point type, or a value overflows in it.
    """
    if dtype == "BF16":
        return _bfloat16(values)
    if dtype not in _FLOATS:
        raise ArtifactError(f"weights cannot be stored as {dtype}", f"use {', '.join(_FLOATS)}")
    with np.errstate(over="ignore"):
        stored = values.astype(DTYPES[dtype])
    if not np.isfinite(stored).all():
        largest = float(np.abs(values).max())
        raise ArtifactError(
            f"a weight of {largest:g} does not fit {dtype}", "store the checkpoint as BF16 or F32"
        )
    return stored


def _bfloat16(values: FloatArray) -> Bits:
    if not np.isfinite(values).all():
        raise ArtifactError("a weight is not finite", "the checkpoint or the adapter is damaged")
    bits = values.view(np.uint32)
    # Half of the last kept place, less one unit where that place is even: ties go to even.
    rounded = (bits >> 16) & 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    return rounded.astype(np.uint16)


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


class ShardWriter:
    """Writes tensors one by one, in any order, into the shards that a plan laid out.

    Use it as a context manager. Every file has a temporary name until `finish` has found all
    planned tensors written; leaving the block earlier removes them.

    Args:
        folder: of the checkpoint; exists.
        plan: every tensor that will be written, in the order of the shards.
        shard_bytes: a shard holds at most as many bytes of tensors, or a single larger tensor.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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


def temporary(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def write_text(path: Path, text: str) -> None:
    """Write a small file in one step or not at all."""
    unfinished = temporary(path)
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


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
