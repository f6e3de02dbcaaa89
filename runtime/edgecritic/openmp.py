"""How OpenMP's threads wait for each other: asked for in the environment, before it is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SHORT_WAITS: Final = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}


def wait_briefly() -> None:
    """Have OpenMP's threads sleep soon where they wait for each other; the user's settings stay.

    On cores that others use as well, libgomp's long spinning made a judgement up to a hundred
    times slower; without any spinning, a token of a reason took four times as long
    (docs/experiments.md). Libraries that are loaded later read it, and so do child processes.
    """
    if not _SHORT_WAITS.keys() & os.environ.keys():
        os.environ |= _SHORT_WAITS


@contextmanager
def brief_waits() -> Iterator[None]:
    """`wait_briefly` for libraries that are loaded meanwhile; then the environment is as it was.

    Of a library that is loaded already nothing changes.
    """
    ours = not _SHORT_WAITS.keys() & os.environ.keys()
    wait_briefly()
    try:
        yield
    finally:
        for name in _SHORT_WAITS if ours else ():
            os.environ.pop(name, None)
