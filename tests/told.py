"""What an export said while it worked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Told:
    """Remembers lines, and of each measured step its name, planned bytes and final bytes."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def measured(self, label: str, total: int, done: Callable[[], int]) -> Iterator[None]:
        yield
        self.steps.append((label, total, done()))
