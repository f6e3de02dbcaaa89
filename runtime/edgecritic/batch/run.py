"""Judges rows: many at once, so that what their prompts share is decoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Any, Final

from edgecritic.backends.base import CancelToken
from edgecritic.batch.results import Results, Tally
from edgecritic.batch.rows import BatchRow
from edgecritic.critic import Critic
from edgecritic.errors import CriticError, InputError

WINDOW: Final = 32
"""Rows at the critic at a time: enough to fill its batches, few to do again after a kill."""
_MOST_FAILURES: Final = 8
"""Failures of the engine, one behind the other, after which it is not asked any more."""
_LOOK_SECONDS: Final = 0.1


def judge_rows(
    critic: Critic,
    rows: Iterable[BatchRow],
    results: Results,
    *,
    cancel: CancelToken | None = None,
    on_done: Callable[[Tally], None] = lambda _tally: None,
) -> Tally:
    """Judge rows that were not judged before, and keep each outcome as soon as it is there.

    A row that cannot be judged is an outcome, too, and keeps none of the others from theirs.

    Args:
        critic: judges.
        rows: streamed; only `WINDOW` of them are held at a time.
        results: what was done before is left as it is.
        cancel: stops all of it; what was judged by then is kept.
        on_done: is told after each row.

    Returns:
        What became of the rows.

    Raises:
        CriticError: the engine is gone, failed several times in a row, or the disk is full.
    """
    return _Run(critic, results, cancel, on_done).judge(rows)


class _Run:
    """Rows under way; see `judge_rows`."""

    def __init__(
        self,
        critic: Critic,
        results: Results,
        cancel: CancelToken | None,
        on_done: Callable[[Tally], None],
    ) -> None:
        self._critic = critic
        self._results = results
        self._cancel = cancel
        self._on_done = on_done
        self._pending: dict[Future[Any], tuple[BatchRow, str]] = {}
        self._failures = 0
        self._window = min(WINDOW, critic.queue.limit)

    def judge(self, rows: Iterable[BatchRow]) -> Tally:
        try:
            for row in rows:
                if self._cancelled:
                    break
                self._take(row)
                while len(self._pending) >= self._window:
                    self._collect()
            while self._pending:
                self._collect()
        finally:
            for future in self._pending:
                future.cancel()
        return self._results.tally

    @property
    def _cancelled(self) -> bool:
        return self._cancel is not None and self._cancel.cancelled

    def _take(self, row: BatchRow) -> None:
        key = row.key()
        if self._results.has(key):
            self._on_done(self._results.tally)
        elif isinstance(row.asked, InputError):
            self._keep(row, key, row.asked)
        else:
            try:
                future: Future[Any] = self._critic.submit(row.asked, cancel=self._cancel)
            except InputError as error:
                self._keep(row, key, error)
            else:
                self._pending[future] = row, key

    def _collect(self) -> None:
        """Keep what is done by now; wait until something is."""
        done, _ = wait(self._pending, _LOOK_SECONDS, FIRST_COMPLETED)
        for future in sorted(done, key=lambda one: self._pending[one][0].number):
            row, key = self._pending.pop(future)
            try:
                judged = future.result()
            except CancelledError:
                continue
            except InputError as error:
                self._keep(row, key, error)
            except CriticError as error:
                self._keep(row, key, error)
                self._failures += 1
                if self._critic.closed or self._failures >= _MOST_FAILURES:
                    raise
            else:
                self._failures = 0
                if judged.status != "cancelled":
                    self._keep(row, key, judged)

    def _keep(self, row: BatchRow, key: str, outcome: Any) -> None:
        self._results.add(row, key, outcome)
        self._on_done(self._results.tally)
