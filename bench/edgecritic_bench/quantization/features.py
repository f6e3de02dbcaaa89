"""Features of pictures on disk, for arms whose vision towers are the same file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from edgecritic.vision import FeatureCache, FeatureKey
from edgecritic.vision.tiling import FloatArray

MEMORY_BYTES = 64 * 2**20
"""Of pictures in memory: those of one picture's groups follow each other."""


class SharedFeatures(FeatureCache):
    """A cache of features with a folder behind it, shared by the processes of one run.

    Args:
        folder: made if need be.
        max_bytes: what the folder may hold; nothing is added beyond it.
        tag: whatever else features depend on, such as the engine and its device.
    """

    def __init__(self, folder: Path, max_bytes: int, tag: str) -> None:
        super().__init__(MEMORY_BYTES)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._most, self._tag = folder, max_bytes, tag

    def get(self, key: FeatureKey) -> FloatArray | None:
        """The stored (n_tokens, d) array, read-only, or None."""
        features = super().get(key)
        if features is not None:
            return features
        try:
            found = np.load(self._path(key), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        super().put(key, found)
        return np.asarray(found, dtype=np.float32)

    def put(self, key: FeatureKey, features: FloatArray) -> None:
        """Keep a copy in memory, and on disk where there is room."""
        super().put(key, features)
        path = self._path(key)
        if path.exists() or self._held() + features.nbytes > self._most:
            return
        # Several arms may write the same features: each its own file, the last one stays.
        partial = path.with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as file:
            np.save(file, features)
        partial.replace(path)

    def _path(self, key: FeatureKey) -> Path:
        name = "\n".join((key.content, key.geometry, key.vision_tower, str(key.single), self._tag))
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npy"

    def _held(self) -> int:
        return sum(map(_size, os.scandir(self._folder)))


def _size(entry: os.DirEntry[str]) -> int:
    """Of a file that another process may have renamed since it was listed."""
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0
