"""How much of a judgement's prompts is read, told to whoever listens."""

from __future__ import annotations

from collections.abc import Mapping

from edgecritic.judging.demands import Read
from edgecritic.judging.live import Live
from edgecritic.judging.trie import count_cells
from edgecritic.judging.walk import Spent
from edgecritic.progress import Progress


class Prefill:
    """All prompts of one judgement as one number, from none of it to all of it.

    A prompt counts with its longest row: rows differ in what the outcomes begin with, a token or
    two. What was kept from before is read, and what another prompt shares with it counts for both.

    Args:
        live: the judgement.
        spent: by demand what reading it has cost, kept up to date while it is read.
    """

    def __init__(self, live: Live, spent: Mapping[int, Spent]) -> None:
        self._live = live
        self._spent = spent
        self._cells = {
            index: max(map(count_cells, demand.rows))
            for index, demand in enumerate(live.demands)
            if isinstance(demand, Read)
        }
        self._found = set(live.answers)
        self._told = -1
        self.tell()

    def found(self, index: int) -> None:
        """A demand's last row is there."""
        self._found.add(index)
        self.tell()

    def tell(self) -> None:
        """Tell how far it is, if that is further than before."""
        done = sum(self._done(index) for index in self._cells)
        if done > self._told and not self._live.ended:
            self._told = done
            self._live.job.tell(Progress("prefill", done, sum(self._cells.values())))

    def _done(self, index: int) -> int:
        if index in self._found:
            return self._cells[index]
        spent = self._spent.get(index, Spent())  # one for which there is no room yet waits
        return min(spent.decoded + spent.reused, self._cells[index])
