"""The cache folder, and where in it model files are kept."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from edgecritic.hashing import verify
from edgecritic.manifest import BundleFile

PART: Final = ".download-"
"""What such folders' names begin with."""


def cache_home() -> Path:
    """Where model files are kept: ``EDGECRITIC_HOME``, or the user's cache folder."""
    override = os.environ.get("EDGECRITIC_HOME")
    return (
        Path(override).expanduser() if override else user_cache_path("edgecritic", appauthor=False)
    )


def cache_path(file: BundleFile, cache_dir: Path | None = None) -> Path:
    """Where an external file is kept, whether it is there or not.

    Args:
        file: of a manifest.
        cache_dir: the cache folder; `cache_home` when left out.
    """
    return (cache_dir or cache_home()) / "models" / file.sha256[:16] / file.path


def part_of_file(sha256: str, cache_dir: Path | None = None) -> Path:
    """The folder of what has been fetched of an external file that is not whole yet."""
    return (cache_dir or cache_home()) / "models" / f"{PART}{sha256[:16]}"


def cached_file(
    file: BundleFile, cache_dir: Path | None = None, *, bundle: str = "embedded"
) -> Path:
    """An external file that is there and whole.

    Args:
        file: of a manifest.
        cache_dir: the cache folder; `cache_home` when left out.
        bundle: the bundle's name for the command that fetches it.

    Raises:
        ArtifactError: it was never fetched, or is damaged.
    """
    path = cache_path(file, cache_dir)
    hint = f"fetch it with: edgecritic models pull {shlex.quote(bundle)}"
    verify(path, file.size, file.sha256, hint)
    return path
