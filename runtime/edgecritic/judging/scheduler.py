"""What is computed next: demands of all judgements under way, served together.

Prompts that wait are decoded as one tree, whoever asked for them; behind each of its batches, and
when none wait, every text that is being generated gets its next token, all in one batch. A
judgement that cannot be made fails alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from time import monotonic
from typing import TypeAlias

from edgecritic.backends.base import (
    Append,
    Backend,
    Cancelled,
    CancelToken,
    FloatArray,
    ImageSpan,
)
from edgecritic.errors import BackendUnavailableError
from edgecritic.judging.demands import Read, Readout
from edgecritic.judging.jobs import Job, Maker
from edgecritic.judging.live import Live, prompt_of, stem_of
from edgecritic.judging.pool import PrefixPool
from edgecritic.judging.prefill import Prefill
from edgecritic.judging.reading import Reading
from edgecritic.judging.texts import Texts
from edgecritic.judging.trie import count_cells, spans_of
from edgecritic.judging.walk import Spent

_Wanted: TypeAlias = tuple[Live, int, Read]
"""A prompt to read: whose it is, which of the demands, and the demand."""


class _Attention(CancelToken):
    """Tells an engine to stop, and the watch that the engine asks, so that it lives."""

    def __init__(self, scheduler: Scheduler, concerned: Sequence[Live]) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._thread = get_ident()
        self.concerned = concerned

    @property
    def cancelled(self) -> bool:
        if get_ident() == self._thread:  # some engines have a thread ask that does not compute
            self._scheduler.beat = monotonic()
        return super().cancelled or all(live.ended or live.job.cancelled for live in self.concerned)


class Scheduler:
    """Runs judgements on an engine. One thread calls it; `sweep` may be called by another.

    Args:
        backend: the engine.
        maker: makes the steps of jobs.
        pool: the engine's sequences.
        deterministic: make one judgement at a time, each in the same batches whatever was judged
            before, so that equal requests get equal bits.

    Attributes:
        beat: when the engine was last seen alive, by `time.monotonic`.
    """

    def __init__(
        self, backend: Backend, maker: Maker, pool: PrefixPool, *, deterministic: bool = False
    ) -> None:
        self.beat = monotonic()
        self._backend = backend
        self._maker = maker
        self._pool = pool
        self._deterministic = deterministic
        self._live: list[Live] = []
        self._texts = Texts(backend, pool, self._append)
        self._attention: _Attention | None = None

    @property
    def busy(self) -> bool:
        """Judgements are under way."""
        return bool(self._live)

    @property
    def accepts(self) -> bool:
        """Another judgement can be begun: what waits to be read does not fill the context yet."""
        if not self._live:
            return True
        return not self._deterministic and self._n_waiting_cells() < self._backend.info.n_ctx

    def admit(self, job: Job) -> None:
        """Begin a judgement: its pictures are encoded."""
        if job.cancelled:
            job.finish(self._maker.unjudged(job))
            return
        with self._attending([]) as attention:
            live = Live(job, self._maker.steps(job, attention), self._backend.info.n_ctx)
            attention.concerned = [live]
            self._live.append(live)
            live.begin()

    def step(self) -> None:
        """Serve what is demanded, a piece of it."""
        self._drop_ended()
        if self._deterministic:
            self._begin_alone()
        self._texts.begin(self._live)
        reads = self._readable()
        if reads:
            self._read(reads)
        else:
            self._texts.write()
        self._drop_ended()

    def sweep(self) -> None:
        """End the judgements that are no longer wanted; stop the engine if it has no others."""
        for live in tuple(self._live):
            if live.job.cancelled:
                live.stop(self._maker.unjudged)
        attention = self._attention
        if attention is not None and attention.cancelled:
            attention.cancel()

    def abandon(self, error: BackendUnavailableError) -> None:
        """Let all judgements fail, whatever the engine is doing."""
        for live in tuple(self._live):
            live.abandon(error)
        attention = self._attention
        if attention is not None:
            attention.cancel()

    def release(self) -> None:
        """Give back all sequences, once everything was abandoned."""
        self._drop_ended()
        self._pool.forget()

    def _drop_ended(self) -> None:
        """Forget judgements that have ended, and give back what they held."""
        self.sweep()
        self._texts.drop_ended()
        for live in [live for live in self._live if live.ended]:
            live.close()
            self._live.remove(live)

    # --- the engine ---

    @contextmanager
    def _attending(self, concerned: Sequence[Live]) -> Iterator[_Attention]:
        before, self._attention = self._attention, _Attention(self, concerned)
        try:
            yield self._attention
        finally:
            self._attention = before
            self.beat = monotonic()

    def _append(
        self, appends: Sequence[Append], concerned: Sequence[Live]
    ) -> list[FloatArray | None]:
        with self._attending(concerned) as attention:
            return self._backend.append(appends, attention)

    # --- reading ---

    def _n_waiting_cells(self) -> int:
        """Cells of all prompts that wait, a picture that several share counted once."""
        pictures: set[ImageSpan] = set()
        n_cells = 0
        for prompt in (prompt for live in self._live for prompt in live.prompts):
            pictures.update(unit for unit in prompt if isinstance(unit, ImageSpan))
            n_cells += sum(isinstance(unit, int) for unit in prompt)
        return n_cells + sum(len(picture) for picture in pictures)

    def _readable(self) -> list[_Wanted]:
        """Prompts for which there is room beside the texts that are being generated."""
        reads = [(live, index, read) for live in self._live for index, read in live.reads]
        if not reads or not self._pool.free_sequences:
            return []
        room = self._backend.info.n_ctx - self._texts.n_cells
        return [
            one for one in reads if not self._texts or max(map(count_cells, one[2].rows)) <= room
        ]

    def _read(self, reads: Sequence[_Wanted]) -> None:
        concerned = [live for live, _, _ in reads]
        unread = set(range(len(reads)))
        prefills: dict[Live, Prefill] = {}

        def tell(index: int, found: Readout) -> None:
            unread.discard(index)
            live, demand, _ = reads[index]
            if live in prefills:
                prefills[live].found(demand)
            live.answer(demand, found)

        def append(appends: Sequence[Append]) -> list[FloatArray | None]:
            return self._append(appends, concerned)

        try:
            reading = Reading(
                self._pool,
                append,
                [read for _, _, read in reads],
                tell,
                lambda index: not reads[index][0].ended,
            )
            prefills |= _prefills(reads, reading.walk.spent)
            for _ in reading.walk.steps():
                for prefill in prefills.values():
                    prefill.tell()
                self._texts.write()
        except Cancelled:
            return
        except Exception as error:
            self._alone(error, [reads[index] for index in sorted(unread)])

    def _alone(self, error: Exception, reads: Sequence[_Wanted]) -> None:
        """What failed together is tried one by one; who fails alone, fails."""
        left = [(live, index, read) for live, index, read in reads if not live.ended]
        lives = {id(live) for live, _, _ in left}
        if len(lives) <= 1:
            for live, _, _ in left:
                live.fail(error)
            return
        for live in dict.fromkeys(live for live, _, _ in left):
            self._read([one for one in left if one[0] is live])

    def _begin_alone(self) -> None:
        for live in self._live:
            if not live.begun and not live.ended:
                try:
                    self._lay_stem(live)
                except Cancelled:
                    pass
                except Exception as error:
                    live.fail(error)

    def _lay_stem(self, live: Live) -> None:
        """Begin with nothing in the cache but the prompt up to its pictures, in its first cells.

        What follows is then decoded in the same batches and lies in the same cells, whether the
        pictures were decoded just now or for the judgement before.
        """
        stem = stem_of(prompt_of(live.demands[0]))
        live.begun = True
        if self._pool.keep_only(stem) or not stem:
            return
        sequence = self._pool.lend()
        try:
            self._append([Append(sequence, spans_of(stem), logits=False)], [live])
        except BaseException:
            self._pool.give_back(sequence)
            raise
        self._pool.give_back(sequence, stem)


def _prefills(reads: Sequence[_Wanted], spent: Sequence[Spent]) -> dict[Live, Prefill]:
    """For each judgement that has a listener, who tells it how far its prompts are."""
    found: dict[Live, dict[int, Spent]] = {}
    for (live, demand, _), cost in zip(reads, spent, strict=True):
        if live.job.on_event is not None:
            found.setdefault(live, {})[demand] = cost
    return {live: Prefill(live, costs) for live, costs in found.items()}
