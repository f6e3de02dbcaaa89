"""What stops a run, told as what it is: a full disk, a GPU without room, a row in a worker."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgecritic.errors import ArtifactError, BackendUnavailableError, CriticError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_SAID: Final = ("no space left", "disk quota exceeded")
_NO_MEMORY: Final = "DefaultCPUAllocator: can't allocate memory"
_LESS_MEMORY: Final = (
    "lower images.max_tokens, data.max_tokens, optimizer.batch or adapter.rank; `edgecritic train "
    "estimate` tells what each saves"
)
_NOTHING_LEFT: Final = 1 << 20


@contextmanager
def told_apart(folder: Path) -> Iterator[None]:
    """Turn what libraries say of a full disk, a full GPU or a failed worker into our own errors.

    Args:
        folder: that is written to.

    Raises:
        ArtifactError: the disk is full.
        BackendUnavailableError: a step does not fit the GPU, or a tensor the memory.
        CriticError: what a process that prepares batches has raised.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise BackendUnavailableError(
            f"a step does not fit the GPU: {str(error).partition('. ')[0]}",
            f"take the preset of your card, or {_LESS_MEMORY}",
        ) from error
    except CriticError as error:
        if "DataLoader worker" not in error.message:
            raise
        raise _as_raised(error) from error
    except Exception as error:  # tokenizers raises nothing more particular
        if _NO_MEMORY in str(error):
            raise BackendUnavailableError(
                f"the machine's memory is full: {str(error).rpartition(': ')[2]}", _LESS_MEMORY
            ) from error
        if not _disk_is_full(error, folder):
            raise
        raise ArtifactError(
            f"the disk of {folder} is full: {str(error).partition(chr(10))[0]}",
            "free some space and start the same command again: it goes on from the last "
            "checkpoint that was written whole",
        ) from error


def _as_raised(error: CriticError) -> CriticError:
    """The error as it was before a worker of torch's made its traceback the message."""
    kind = type(error)
    told = error.message.rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].strip()
    message, _, hint = told.partition("\n  hint: ")
    return kind(message, hint)


def _disk_is_full(error: Exception, folder: Path) -> bool:
    """Torch's own writer says only that it failed, so the disk itself is asked, too."""
    if getattr(error, "errno", None) in _FULL:
        return True
    said = str(error).casefold()
    if any(phrase in said for phrase in _SAID):
        return True
    writing = "write" in said or "writing" in said
    return writing and folder.is_dir() and shutil.disk_usage(folder).free < _NOTHING_LEFT
