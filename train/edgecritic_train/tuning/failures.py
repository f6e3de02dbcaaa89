"""What stops a run from outside, told as what it is: a full disk, a GPU without room."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgecritic.errors import ArtifactError, BackendUnavailableError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_SAID: Final = ("no space left", "disk quota exceeded")
_NOTHING_LEFT: Final = 1 << 20


@contextmanager
def told_apart(folder: Path) -> Iterator[None]:
    """Turn what torch and safetensors say of a full disk or a full GPU into our own errors.

    Args:
        folder: that is written to.

    Raises:
        ArtifactError: the disk is full.
        BackendUnavailableError: a step does not fit the GPU.
    """
    import torch
    from safetensors import SafetensorError

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise BackendUnavailableError(
            f"a step does not fit the GPU: {str(error).partition('. ')[0]}",
            "take the preset of your card, or lower images.max_tokens, data.max_tokens, "
            "optimizer.batch or adapter.rank; `edgecritic train estimate` tells what each saves",
        ) from error
    except (OSError, RuntimeError, SafetensorError) as error:
        if not _disk_is_full(error, folder):
            raise
        raise ArtifactError(
            f"the disk of {folder} is full: {str(error).partition(chr(10))[0]}",
            "free some space and start the same command again: it goes on from the last "
            "checkpoint that was written whole",
        ) from error


def _disk_is_full(error: Exception, folder: Path) -> bool:
    """Torch's own writer says only that it failed, so the disk itself is asked, too."""
    if getattr(error, "errno", None) in _FULL:
        return True
    said = str(error).casefold()
    if any(phrase in said for phrase in _SAID):
        return True
    writing = "write" in said or "writing" in said
    return writing and folder.is_dir() and shutil.disk_usage(folder).free < _NOTHING_LEFT
