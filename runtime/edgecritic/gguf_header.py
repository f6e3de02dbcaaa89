"""A bounded reader of GGUF headers: what a file claims to be, before an engine opens it.

The engines' own readers are written in C++ and have had memory-safety bugs. This one checks the
claims that those readers trust: magic and version, counts, string lengths, array lengths, and that
every tensor's bytes lie inside the file. Nothing is allocated by a number from the file; arrays
are measured, not read, unless they are short.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from edgecritic.errors import ArtifactError, shown

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
MAX_KEYS: Final = 4096
MAX_TENSORS: Final = 65_536
MAX_KEY_BYTES: Final = 65_535  # the limit of the format
MAX_STRING_BYTES: Final = 1 << 20  # chat templates are the longest strings in practice
MAX_ARRAY_ITEMS: Final = 4_000_000  # the largest vocabularies have about 260,000 tokens
MAX_DIMENSIONS: Final = 4
ALIGNMENTS: Final = tuple(1 << bits for bits in range(3, 13))
KEPT_ARRAY_ITEMS: Final = 64
DAMAGED_HINT: Final = "the file is damaged or not a GGUF file: fetch or export it again"

Scalar: TypeAlias = int | float | bool | str

_STRING: Final = 8
_ARRAY: Final = 9
_SCALAR_FORMATS: Final[dict[int, str]] = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
TYPE_NAMES: Final[dict[int, str]] = {
    0: "uint8",
    1: "int8",
    2: "uint16",
    3: "int16",
    4: "uint32",
    5: "int32",
    6: "float32",
    7: "bool",
    _STRING: "string",
    _ARRAY: "array",
    10: "uint64",
    11: "int64",
    12: "float64",
}

# ggml tensor types: name, values in a block, bytes of a block (ggml.h and ggml-common.h).
TENSOR_BLOCKS: Final[dict[int, tuple[str, int, int]]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
}
TENSOR_TYPE_NAMES: Final = frozenset(name for name, _, _ in TENSOR_BLOCKS.values())


@dataclass(frozen=True, slots=True)
class ArrayClaim:
    """An array in the metadata.

    Attributes:
        items: the values of a short array; None for a long one.
        distinct: how many different values an array of strings has, each up to its first NUL,
            which is where C takes it to end; `length` for other types.
        start: where its first item begins in the file, in bytes.
    """

    item_type: str
    length: int
    items: tuple[Scalar, ...] | None
    distinct: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class TensorClaim:
    """One tensor as the header describes it.

    Attributes:
        shape: fastest dimension first, as ggml writes it.
        type_name: ``"F32"``, ``"Q4_K"``, ...
        n_bytes: length of its data.
        start: where its data begins in the file, in bytes.
    """

    name: str
    shape: tuple[int, ...]
    type_name: str
    n_bytes: int
    start: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Checked metadata and tensor table of one file.

    Attributes:
        types: for each key of `metadata` the type it is stored as, a value of `TYPE_NAMES`.
    """

    path: Path
    version: int
    metadata: dict[str, Scalar | ArrayClaim]
    types: dict[str, str]
    tensors: dict[str, TensorClaim]

    def text(self, key: str) -> str:
        """The string under `key`.

        Raises:
            ArtifactError: there is none.
        """
        value = self.metadata.get(key)
        if not isinstance(value, str):
            raise ArtifactError(f"{self.path}: {key} should be a string, is {shown(value)}", _WRONG)
        return value

    def count(self, key: str, *, default: int | None = None, limit: int = 1 << 24) -> int:
        """The positive integer under `key`, at most `limit`.

        Raises:
            ArtifactError: it is missing (and has no default), no integer, or out of range.
        """
        value = self.metadata.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= limit:
            raise ArtifactError(
                f"{self.path}: {key} should be an integer from 1 to {limit}, is {shown(value)}",
                _WRONG,
            )
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """The float under `key`, between `low` and `high`.

        Raises:
            ArtifactError: it is missing, no float, or out of range.
        """
        value = self.metadata.get(key)
        if not isinstance(value, float) or not low <= value <= high:
            raise ArtifactError(
                f"{self.path}: {key} should be a number from {low} to {high}, is {shown(value)}",
                _WRONG,
            )
        return value

    def array(self, key: str, item_type: str) -> ArrayClaim:
        """The array of `item_type` under `key`.

        Raises:
            ArtifactError: there is none.
        """
        value = self.metadata.get(key)
        if not isinstance(value, ArrayClaim) or value.item_type != item_type:
            raise ArtifactError(
                f"{self.path}: {key} should be an array of {item_type}, is {shown(value)}", _WRONG
            )
        return value

    def tensor(self, name: str) -> TensorClaim:
        """The tensor `name`.

        Raises:
            ArtifactError: the file has no such tensor.
        """
        claim = self.tensors.get(name)
        if claim is None:
            raise ArtifactError(f"{self.path}: tensor {name} is missing", _WRONG)
        return claim


_WRONG: Final = "this is not the kind of GGUF file that is needed here: check the bundle's files"


def read_header(path: Path) -> GgufHeader:
    """Read and check the header of a GGUF file.

    Args:
        path: the file.

    Returns:
        Its metadata and tensor table.

    Raises:
        ArtifactError: the file is missing, is no GGUF file, or claims something impossible.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _Reader(path, data).header()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error}", "check the path") from error
    except ValueError as error:  # mmap of an empty file
        raise ArtifactError(f"{path} is empty", DAMAGED_HINT) from error


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._size = len(data)
        self._at = 0

    def header(self) -> GgufHeader:
        magic = self._data[:4]
        if magic != MAGIC:
            raise self._damaged(f"starts with {magic!r}, not {MAGIC!r}")
        self._at = 4
        version = self._unsigned("<I")
        if version not in VERSIONS:
            raise self._damaged(f"GGUF version {version} is not one of {VERSIONS}")
        n_tensors = self._limited("<Q", MAX_TENSORS, "number of tensors")
        n_keys = self._limited("<Q", MAX_KEYS, "number of keys")
        metadata: dict[str, Scalar | ArrayClaim] = {}
        types: dict[str, str] = {}
        for _ in range(n_keys):
            key = self._string(MAX_KEY_BYTES)
            if key in metadata:
                raise self._damaged(f"key {shown(key)} appears twice")
            type_id = self._unsigned("<I")
            metadata[key] = self._value(type_id)
            types[key] = TYPE_NAMES[type_id]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment not in ALIGNMENTS:
            raise self._damaged(f"general.alignment is {shown(alignment)}")
        if types.get("general.alignment", "uint32") != "uint32":
            raise self._damaged(f"general.alignment is of type {types['general.alignment']}")
        tensors = self._tensors(n_tensors, alignment)
        return GgufHeader(self._path, version, metadata, types, tensors)

    def _tensors(self, n_tensors: int, alignment: int) -> dict[str, TensorClaim]:
        relative = [self._tensor() for _ in range(n_tensors)]
        data_start = math.ceil(self._at / alignment) * alignment
        claims: dict[str, TensorClaim] = {}
        for claim in relative:
            if claim.name in claims:
                raise self._damaged(f"tensor {shown(claim.name)} appears twice")
            start = data_start + claim.start
            if start + claim.n_bytes > self._size:
                raise self._damaged(
                    f"tensor {shown(claim.name)} ends at byte {start + claim.n_bytes}, "
                    f"behind the end of the file at {self._size}"
                )
            claims[claim.name] = replace(claim, start=start)
        return claims

    def _tensor(self) -> TensorClaim:
        name = self._string(MAX_KEY_BYTES)
        n_dimensions = self._limited("<I", MAX_DIMENSIONS, f"dimensions of {shown(name)}")
        shape = tuple(self._unsigned("<Q") for _ in range(n_dimensions))
        type_id = self._unsigned("<I")
        if type_id not in TENSOR_BLOCKS:
            raise self._damaged(f"tensor {shown(name)} has the unknown type {type_id}")
        type_name, block, block_bytes = TENSOR_BLOCKS[type_id]
        values = math.prod(shape)
        if not shape or values == 0 or shape[0] % block:
            raise self._damaged(f"tensor {shown(name)} of type {type_name} has the shape {shape}")
        n_bytes = values // block * block_bytes
        return TensorClaim(name, shape, type_name, n_bytes, start=self._unsigned("<Q"))

    def _value(self, type_id: int) -> Scalar | ArrayClaim:
        return self._array() if type_id == _ARRAY else self._scalar(type_id)

    def _array(self) -> ArrayClaim:
        item_type = self._unsigned("<I")
        length = self._limited("<Q", MAX_ARRAY_ITEMS, "length of an array")
        name = TYPE_NAMES.get(item_type, "unknown")
        if item_type not in (_STRING, *_SCALAR_FORMATS):
            raise self._damaged(f"an array of {name} items")
        start = self._at
        if length <= KEPT_ARRAY_ITEMS:
            items = tuple(self._scalar(item_type) for _ in range(length))
            texts = {item.partition("\0")[0] for item in items if isinstance(item, str)}
            distinct = len(texts) if item_type == _STRING else length
            return ArrayClaim(name, length, items, distinct, start)
        if item_type == _STRING:
            return ArrayClaim(name, length, None, self._skip_strings(length), start)
        self._skip(length * struct.calcsize(_SCALAR_FORMATS[item_type]))
        return ArrayClaim(name, length, None, length, start)

    def _skip_strings(self, length: int) -> int:
        """Pass over strings; the number of different ones among them, as C reads them."""
        # The hot loop: a vocabulary has some 100,000 strings, so no method call for each.
        unpack = struct.Struct("<Q").unpack_from
        at, end, data = self._at, self._size - 8, self._data
        seen: set[bytes] = set()
        for _ in range(length):
            if at > end:
                raise self._damaged("ends within an array of strings")
            size = unpack(data, at)[0]
            if size > MAX_STRING_BYTES:
                raise self._damaged(f"a string of {size} bytes in an array")
            seen.add(data[at + 8 : at + 8 + size].partition(b"\0")[0])
            at += 8 + size
        if at > self._size:
            raise self._damaged("ends within an array of strings")
        self._at = at
        return len(seen)

    def _scalar(self, type_id: int) -> Scalar:
        if type_id == _STRING:
            return self._string(MAX_STRING_BYTES)
        layout = _SCALAR_FORMATS.get(type_id)
        if layout is None:
            raise self._damaged(f"value type {type_id} is unknown")
        value: Scalar = self._unpack(layout)
        return value

    def _unsigned(self, layout: str) -> int:
        return int(self._unpack(layout))

    def _unpack(self, layout: str) -> int | float | bool:
        start = self._at
        self._skip(struct.calcsize(layout))
        value: int | float | bool = struct.unpack_from(layout, self._data, start)[0]
        return value

    def _limited(self, layout: str, limit: int, what: str) -> int:
        value = self._unsigned(layout)
        if value > limit:
            raise self._damaged(f"{what} is {value}, more than {limit}")
        return value

    def _string(self, limit: int) -> str:
        length = self._limited("<Q", limit, "length of a string")
        start = self._at
        self._skip(length)
        try:
            return self._data[start : start + length].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._damaged(f"text at byte {start} is not UTF-8") from error

    def _skip(self, n_bytes: int) -> None:
        if n_bytes > self._size - self._at:
            raise self._damaged(f"ends at byte {self._size}, within its header")
        self._at += n_bytes

    def _damaged(self, what: str) -> ArtifactError:
        return ArtifactError(f"{self._path}: {what}", DAMAGED_HINT)
