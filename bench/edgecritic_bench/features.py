"""Image features of two engines: cosines and errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecritic import InputError
from edgecritic_bench.tables import Floats


@dataclass(frozen=True, slots=True)
class FeatureParity:
    """How far two engines' image features are apart.

    Attributes:
        images: arrays compared.
        tokens: feature vectors compared.
        min_cosine: of a vector with its counterpart.
        mean_cosine: likewise.
        max_error: greatest absolute difference of a number.
        rms: root mean square of the reference's numbers, to set the error against.
    """

    images: int
    tokens: int
    min_cosine: float
    mean_cosine: float
    max_error: float
    rms: float


def compare_features(reference: Path, other: Path) -> FeatureParity:
    """Compare two files of features.

    Args:
        reference: ``.npy`` with (..., n_tokens, n_embd), or ``.npz`` with one such array per image.
        other: the same, by the same names.

    Raises:
        InputError: a file cannot be read, or the arrays do not match.
    """
    ours, theirs = _read(reference), _read(other)
    if not ours or ours.keys() != theirs.keys():
        raise InputError(
            f"{reference.name} and {other.name} do not hold the same images",
            "write the features of the same pictures under the same names",
        )
    for name, array in ours.items():
        if array.shape != theirs[name].shape:
            raise InputError(
                f"{name or 'the array'} is {array.shape} in {reference.name} "
                f"and {theirs[name].shape} in {other.name}",
                "write the features of the same pictures, unpooled",
            )
    rows = [
        np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])
        for arrays in (list(ours.values()), [theirs[name] for name in ours])
    ]
    lengths = np.linalg.norm(rows[0], axis=1) * np.linalg.norm(rows[1], axis=1)
    cosines = (rows[0] * rows[1]).sum(axis=1) / lengths
    return FeatureParity(
        images=len(ours),
        tokens=len(cosines),
        min_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        max_error=float(np.abs(rows[0] - rows[1]).max()),
        rms=float(np.sqrt((rows[0] ** 2).mean())),
    )


def _read(path: Path) -> dict[str, Floats]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded.astype(np.float64)}
        with loaded:
            return {name: loaded[name].astype(np.float64) for name in sorted(loaded.files)}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path} holds no arrays: {error}", "write it with numpy.save or numpy.savez"
        ) from error
