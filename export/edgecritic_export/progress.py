"""What a long export says while it works."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from edgecritic.staging import bytes_written


class Progress(Protocol):
    """Is told what goes on."""

    def __call__(self, line: str) -> None:
        """Take a line of text."""
        ...

    def measured(
        self, label: str, total: int, done: Callable[[], int]
    ) -> AbstractContextManager[None]:
        """Show how far the step inside the block is.

        Args:
            label: what is made.
            total: bytes planned.
            done: bytes so far.
        """
        ...


class Silence:
    """Tells nobody."""

    def __call__(self, line: str) -> None:
        """Drop it."""

    def measured(
        self, label: str, total: int, done: Callable[[], int]
    ) -> AbstractContextManager[None]:
        """Show nothing."""
        return nullcontext()


SILENCE = Silence()


def writing(progress: Progress, path: Path, planned: int) -> AbstractContextManager[None]:
    """Show how much of a file is on the disk already, whoever writes it.

    Args:
        progress: is shown it.
        path: final name of a file that is first written under a temporary one.
        planned: bytes, estimated.
    """
    return progress.measured(path.name, planned, lambda: bytes_written(path))
