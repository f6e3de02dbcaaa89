"""Encoded pictures kept in memory, so that every question about one picture encodes it once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from edgecritic.vision.tiling import FloatArray


@dataclass(frozen=True, slots=True)
class FeatureKey:
    """Everything that packed features depend on.

    Args:
        content: `content_hash` of the picture.
        geometry: `ImageGeometry.digest`.
        vision_tower: SHA-256 of the file that holds tower and projector.
        single: the picture was encoded as one padded-square tile.
    """

    content: str
    geometry: str
    vision_tower: str
    single: bool = False


class FeatureCache:
    """Packed features by key, the least recently used dropped first; safe to share by threads.

    Args:
        max_bytes: what the arrays may hold together; 0 keeps nothing. The default holds about
            five 1080p pictures of a 7B critic (7,269 tokens of 3,584 floats: 104 MB each).
    """

    def __init__(self, max_bytes: int = 512 * 2**20) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must not be negative, not {max_bytes}")
        self.max_bytes = max_bytes
        self._entries: OrderedDict[FeatureKey, FloatArray] = OrderedDict()
        self._nbytes = 0
        self._hits = 0
        self._misses = 0
        self._lock = threading.Lock()

    def get(self, key: FeatureKey) -> FloatArray | None:
        """The stored (n_tokens, d) array, read-only, or None; counts a hit or a miss."""
        with self._lock:
            features = self._entries.get(key)
            if features is None:
                self._misses += 1
                return None
            self._entries.move_to_end(key)
            self._hits += 1
            return features

    def put(self, key: FeatureKey, features: FloatArray) -> None:
        """Keep features; those that are larger than the whole cache are not kept.

        The array itself is kept, and is read-only from then on; of one that is a part or another
        view of a larger array, a copy is.
        """
        if features.nbytes > self.max_bytes:
            return
        whole = features.base is None and features.dtype == np.float32
        kept = features if whole and features.flags.c_contiguous else np.array(features, np.float32)
        kept.flags.writeable = False
        with self._lock:
            replaced = self._entries.pop(key, None)
            self._nbytes += kept.nbytes - (0 if replaced is None else replaced.nbytes)
            self._entries[key] = kept
            while self._nbytes > self.max_bytes:
                _, dropped = self._entries.popitem(last=False)
                self._nbytes -= dropped.nbytes

    def clear(self) -> None:
        """Drop every entry; the counters go on."""
        with self._lock:
            self._entries.clear()
            self._nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes held by the stored arrays, at most `max_bytes`."""
        return self._nbytes

    @property
    def hits(self) -> int:
        """Calls of `get` that found their key."""
        return self._hits

    @property
    def misses(self) -> int:
        """Calls of `get` that did not."""
        return self._misses
