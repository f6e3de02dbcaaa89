"""From the tree of all rows to the log-probabilities of verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecritic.backends.base import Backend, FloatArray, ImageSpan
from edgecritic.errors import ContextOverflowError
from edgecritic.judging.demands import Read, Readout
from edgecritic.judging.layout import LaidPrompt
from edgecritic.judging.pool import PrefixPool
from edgecritic.judging.trie import Units, count_cells
from edgecritic.judging.walk import AppendAll, Walk


class Reading:
    """A walk that reads several prompts; each is told as soon as its last row is there.

    Args:
        pool: lends the sequences.
        append: `Backend.append`.
        reads: what to read.
        tell: is given the index and what was read.
        wanted: whether the one of an index is still wanted.
    """

    def __init__(
        self,
        pool: PrefixPool,
        append: AppendAll,
        reads: Sequence[Read],
        tell: Callable[[int, Readout], None],
        wanted: Callable[[int], bool] = lambda index: True,
    ) -> None:
        self._reads = reads
        self._tell = tell
        self._owners = [index for index, read in enumerate(reads) for _ in read.rows]
        firsts = np.cumsum([0, *(len(read.rows) for read in reads)])
        self._firsts = [int(first) for first in firsts]
        self._rows: list[dict[int, FloatArray]] = [{} for _ in reads]
        self.walk = Walk(
            pool,
            append,
            [row for read in reads for row in read.rows],
            self._collect,
            owners=self._owners,
            keep=[self._firsts[index] for index, read in enumerate(reads) if read.keep],
            wanted=lambda row: wanted(self._owners[row]),
        )

    def _collect(self, row: int, logits: FloatArray) -> None:
        index = self._owners[row]
        rows, read = self._rows[index], self._reads[index]
        rows[row - self._firsts[index]] = logits
        if len(rows) == len(read.rows):
            joint = read.outcomes.log_probs([rows[k] for k in range(len(rows))])
            rows.clear()  # a row of a large vocabulary takes half a megabyte
            self._tell(index, Readout(joint, self.walk.spent[index]))


def check_fit(rows: Sequence[Units], reserve: int, n_ctx: int) -> None:
    """Check that rows fit the context, the first with `reserve` cells behind it.

    Raises:
        ContextOverflowError: one does not.
    """
    needs = [count_cells(row) + (0 if index else reserve) for index, row in enumerate(rows)]
    needed = max(needs)
    if needed <= n_ctx:
        return
    longest = rows[needs.index(needed)]
    n_image = count_cells([unit for unit in longest if isinstance(unit, ImageSpan)])
    fitting = max(0, n_ctx - n_image)
    beside = f"beside the {n_image} tokens of the picture, " if n_image else ""
    raise ContextOverflowError(
        f"the request needs {needed} tokens and the context has {n_ctx} available: "
        f"{beside}{fitting} tokens of text fit, and the text has {needed - n_image} "
        "(instructions and answer included)",
        "shorten the question, the responses or the reference"
        + (", or use a smaller picture" if n_image else ""),
    )


@dataclass(frozen=True, slots=True)
class Readings:
    """What several prompts' verdicts are.

    Attributes:
        joints: per prompt the (n_outcomes,) joint log-probabilities.
        decoded: cells decoded.
    """

    joints: tuple[NDArray[np.float64], ...]
    decoded: int


def read_verdicts(backend: Backend, prompts: Sequence[LaidPrompt]) -> Readings:
    """Read all verdicts at once; what the prompts share is decoded once, and nothing is kept.

    Args:
        backend: has no sequences open.
        prompts: at least one.

    Raises:
        ContextOverflowError: a prompt does not fit; nothing was decoded.
    """
    reads = [prompt.read() for prompt in prompts]
    for read in reads:
        check_fit(read.rows, read.reserve, backend.info.n_ctx)
    found: dict[int, Readout] = {}
    pool = PrefixPool(backend, max_cells=0)
    reading = Reading(pool, backend.append, reads, found.__setitem__)
    reading.walk.run()
    joints = tuple(found[index].joint for index in range(len(reads)))
    return Readings(joints, sum(spent.decoded for spent in reading.walk.spent))
