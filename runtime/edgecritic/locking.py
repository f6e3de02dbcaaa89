"""One process at a time: locks that the system releases when their holder dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from weakref import WeakSet

_LOOK_AGAIN_S = 0.2
_opened: WeakSet[IO[bytes]] = WeakSet()


@contextmanager
def exclusive(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock file; whoever asks for it meanwhile, in this process or another, waits.

    Args:
        path: of the lock file, which is made if need be and stays.
        waiting: called once if somebody else holds it.

    Raises:
        OSError: the file cannot be made.
    """
    with path.open("ab") as file:
        _opened.add(file)
        told = False
        while not _locked(file):
            if not told:
                waiting()
                told = True
            time.sleep(_LOOK_AGAIN_S)
        yield  # closing the file releases it


if sys.platform == "win32":
    import msvcrt

    def _locked(file: IO[bytes]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _locked(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks: then nobody else can be kept out
            return True
        return True

    def _let_go() -> None:
        """Close what was inherited: a lock is held until the last process has closed its file."""
        for file in _opened:
            file.close()

    os.register_at_fork(after_in_child=_let_go)
