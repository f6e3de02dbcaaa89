"""Digit and garment arrays from package files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from edgecritic_train.data.pack import AssetError
from edgecritic_train.data.scans import read_idx


def idx(magic: int, shape: tuple[int, ...], body: bytes) -> bytes:
    return gzip.compress(struct.pack(f">{1 + len(shape)}i", magic, *shape) + body)


def test_an_idx_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(idx(2051, (2, 3, 4), bytes(range(24))))
    images = read_idx(path, 2051)
    assert images.shape == (2, 3, 4)
    assert np.array_equal(images.ravel(), np.arange(24))


@pytest.mark.parametrize(
    ("magic", "length"), [(2051, 23), (2049, 24), (2051, 25)], ids=["short", "labels", "long"]
)
def test_a_wrong_idx_file_is_refused(tmp_path: Path, magic: int, length: int) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(idx(magic, (2, 3, 4), bytes(length)))
    with pytest.raises(AssetError, match=r"images\.gz says kind"):
        read_idx(path, 2051)


def test_a_missing_idx_file_is_an_asset_error(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no IDX file"):
        read_idx(tmp_path / "absent.gz", 2049)
