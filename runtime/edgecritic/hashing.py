"""Files are what their manifest says, or they are not opened."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeAlias

from edgecritic.errors import ArtifactError

# What was hashed in this process: a file that has not changed since need not be hashed again.
# The time of the last change of its status counts, too: unlike the other, no program can set it.
_Identity: TypeAlias = tuple[int, ...]
_hashed: dict[_Identity, str] = {}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, size: int, sha256: str, hint: str) -> None:
    """Check a file's size and content, once per process and state of the file.

    Args:
        path: the file.
        size: its size in bytes.
        sha256: hash of its content, hex.
        hint: what mends a file that is not so.

    Raises:
        ArtifactError: it is missing, unreadable or something else.
    """
    try:
        if not path.is_file():
            raise ArtifactError(f"{path} is missing", hint)
        status = path.stat()
        if status.st_size != size:
            raise ArtifactError(f"{path} has {status.st_size:,} bytes, not {size:,}", hint)
        identity = (
            *(status.st_dev, status.st_ino, status.st_size),
            *(status.st_mtime_ns, status.st_ctime_ns),
        )
        if identity not in _hashed:
            _hashed[identity] = file_sha256(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error}", hint) from error
    if _hashed[identity] != sha256:
        raise ArtifactError(
            f"{path} is damaged: its sha256 is {_hashed[identity]}, not {sha256}", hint
        )
