"""What is computed next: demands of all judgements under way, served together.

Prompts that wait are decoded as one tree, whoever asked for them; behind each of its batches, and
when none wait, every text that is being generated gets its next token, all in one batch. A
judgement that cannot be made fails alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock, get_ident
from time import monotonic
from typing import Any, cast

from edgecritic.backends.base import (
    Append,
    Backend,
    Cancelled,
    CancelToken,
    FloatArray,
    ImageSpan,
    TextSpan,
)
from edgecritic.errors import BackendUnavailableError
from edgecritic.judging.demands import (
    Answer,
    Demand,
    Read,
    Readout,
    Steps,
    Write,
    Writing,
)
from edgecritic.judging.generation import Generated
from edgecritic.judging.jobs import Job, Maker
from edgecritic.judging.pool import Held, PrefixPool
from edgecritic.judging.reading import Reading, check_fit
from edgecritic.judging.trie import Units, common_length, count_cells, spans_of
from edgecritic.judging.walk import Spent
from edgecritic.progress import Progress


@dataclass(slots=True, eq=False)
class _Text:
    """A text that is being generated.

    Attributes:
        live: whose it is.
        index: of the demand.
        write: the demand.
        writer: chooses the tokens.
        sequence: of the backend.
        rest: of the prompt, what is not decoded yet.
        logits: after the last token that was decoded.
        promised: cells that it has not taken yet.
        spent: what the prompt cost.
    """

    live: _Live
    index: int
    write: Write
    writer: Writing
    sequence: int
    rest: Units
    logits: FloatArray | None = None
    promised: int = 0
    spent: Spent = field(default_factory=Spent)


@dataclass(slots=True, eq=False)
class _Live:
    """A judgement under way.

    Attributes:
        job: who waits for it.
        steps: the judgement, which waits for its demands.
        demands: what it waits for.
        answers: what is there of that.
        texts: by demand, those that have begun.
        begun: something was decoded for it.
        lock: held while its steps run: a watch may end it from another thread.
        ended: its result, or that there is none, is told.
    """

    job: Job
    steps: Steps[Any]
    demands: Sequence[Demand] = ()
    answers: dict[int, Answer] = field(default_factory=dict)
    texts: dict[int, _Text] = field(default_factory=dict)
    begun: bool = False
    lock: Lock = field(default_factory=Lock)
    ended: bool = False

    @property
    def reads(self) -> list[tuple[int, Read]]:
        """Those that wait, by index."""
        return [
            (index, demand)
            for index, demand in enumerate(self.demands)
            if isinstance(demand, Read) and index not in self.answers and not self.ended
        ]

    @property
    def writes(self) -> list[tuple[int, Write]]:
        """Those that have not begun, by index."""
        return [
            (index, demand)
            for index, demand in enumerate(self.demands)
            if isinstance(demand, Write)
            and index not in self.texts
            and index not in self.answers
            and not self.ended
        ]


class _Attention(CancelToken):
    """Tells an engine to stop, and the watch that the engine asks, so that it lives."""

    def __init__(self, scheduler: Scheduler, concerned: Sequence[_Live]) -> None:
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
        self._live: list[_Live] = []
        self._texts: list[_Text] = []
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
            live = _Live(job, self._maker.steps(job, attention))
            attention.concerned = [live]
            self._live.append(live)
            with live.lock:
                self._send(live, None)

    def step(self) -> None:
        """Serve what is demanded, a piece of it."""
        self._drop_ended()
        if self._deterministic:
            self._begin_alone()
        self._begin_texts()
        reads = self._readable()
        if reads:
            self._read(reads)
        else:
            self._write()
        self._drop_ended()

    def sweep(self) -> None:
        """End the judgements that are no longer wanted; stop the engine if it has no others."""
        for live in tuple(self._live):
            if live.job.cancelled and live.lock.acquire(blocking=False):
                try:
                    self._stop(live)
                finally:
                    live.lock.release()
        attention = self._attention
        if attention is not None and attention.cancelled:
            attention.cancel()

    def abandon(self, error: BackendUnavailableError) -> None:
        """Let all judgements fail, whatever the engine is doing."""
        for live in tuple(self._live):
            live.ended = True
            live.job.fail(error)
        attention = self._attention
        if attention is not None:
            attention.cancel()

    def release(self) -> None:
        """Give back all sequences, once everything was abandoned."""
        self._drop_ended()
        self._pool.forget()

    # --- steps of the judgements ---

    def _send(self, live: _Live, answers: list[Answer] | None) -> None:
        """Let the steps go on up to the next demands; their lock is held."""
        try:
            found = next(live.steps) if answers is None else live.steps.send(answers)
            self._demand(live, found)
        except StopIteration as end:
            self._end(live, end.value)
        except BaseException as error:
            self._fail(live, error)

    def _demand(self, live: _Live, demands: Sequence[Demand]) -> None:
        live.demands, live.answers, live.texts = demands, {}, {}
        n_ctx = self._backend.info.n_ctx
        for demand in demands:
            if isinstance(demand, Read):
                check_fit(demand.rows, demand.reserve, n_ctx)
            else:
                check_fit([demand.units], demand.reserve, n_ctx)

    def _answer(self, live: _Live, index: int, answer: Answer) -> None:
        with live.lock:
            if live.ended:
                return
            live.answers[index] = answer
            if len(live.answers) == len(live.demands):
                self._send(live, [live.answers[k] for k in range(len(live.demands))])

    def _stop(self, live: _Live) -> None:
        """End a judgement that was cancelled, with what is known; its lock is held."""
        if live.ended:
            return
        try:
            if live.reads or not live.demands:
                live.steps.throw(Cancelled())
            else:
                live.steps.send([self._so_far(live, k) for k in range(len(live.demands))])
        except StopIteration as end:
            self._end(live, end.value)
        except BaseException as error:
            self._fail(live, error)
        else:
            self._end(live, self._maker.unjudged(live.job))

    def _so_far(self, live: _Live, index: int) -> Answer:
        if index in live.answers:
            return live.answers[index]
        if index in live.texts:
            return live.texts[index].writer.cancelled()
        return Generated("", 0, "cancelled")

    def _end(self, live: _Live, result: object) -> None:
        live.ended = True
        live.job.finish(result)

    def _fail(self, live: _Live, error: BaseException) -> None:
        live.ended = True
        live.job.fail(error)

    def _drop_ended(self) -> None:
        """Forget judgements that have ended, and give back what their texts held."""
        self.sweep()
        for text in [text for text in self._texts if text.live.ended]:
            self._leave(text)
        ended = [live for live in self._live if live.ended]
        for live in ended:
            with live.lock:
                live.steps.close()
            self._live.remove(live)

    # --- the engine ---

    @contextmanager
    def _attending(self, concerned: Sequence[_Live]) -> Iterator[_Attention]:
        before, self._attention = self._attention, _Attention(self, concerned)
        try:
            yield self._attention
        finally:
            self._attention = before
            self.beat = monotonic()

    def _append(
        self, appends: Sequence[Append], concerned: Sequence[_Live]
    ) -> list[FloatArray | None]:
        with self._attending(concerned) as attention:
            return self._backend.append(appends, attention)

    # --- reading ---

    def _n_waiting_cells(self) -> int:
        """Cells of all prompts that wait, a picture that several share counted once."""
        pictures: set[ImageSpan] = set()
        n_cells = 0
        for live in self._live:
            for _, read in live.reads:
                pictures.update(unit for unit in read.rows[0] if isinstance(unit, ImageSpan))
                n_cells += sum(isinstance(unit, int) for unit in read.rows[0])
        return n_cells + sum(len(picture) for picture in pictures)

    def _readable(self) -> list[tuple[_Live, int, Read]]:
        """Prompts for which there is room beside the texts that are being generated."""
        taken = sum(
            count_cells(text.write.units) + text.writer.limit + text.write.reserve
            for text in self._texts
        )
        room = self._backend.info.n_ctx - taken
        if not self._pool.free_sequences:
            return []
        return [
            (live, index, read)
            for live in self._live
            for index, read in live.reads
            if not self._texts or max(map(count_cells, read.rows)) <= room
        ]

    def _read(self, reads: Sequence[tuple[_Live, int, Read]]) -> None:
        concerned = [live for live, _, _ in reads]
        unread = set(range(len(reads)))

        def tell(index: int, found: Readout) -> None:
            unread.discard(index)
            live, demand, _ = reads[index]
            self._answer(live, demand, found)

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
            totals = [0] * len(reads)
            for _ in reading.walk.steps():
                for index in unread:
                    self._tell_prefill(reads[index], reading.walk.spent[index], totals, index)
                self._write()
        except Cancelled:
            return
        except Exception as error:
            self._alone(error, [reads[index] for index in sorted(unread)])

    def _alone(self, error: Exception, reads: Sequence[tuple[_Live, int, Read]]) -> None:
        """What failed together is tried one by one; who fails alone, fails."""
        left = [(live, index, read) for live, index, read in reads if not live.ended]
        lives = {id(live) for live, _, _ in left}
        if len(lives) <= 1:
            for live, _, _ in left:
                with live.lock:
                    self._fail(live, error)
            return
        for live in dict.fromkeys(live for live, _, _ in left):
            self._read([one for one in left if one[0] is live])

    def _tell_prefill(
        self, read: tuple[_Live, int, Read], spent: Spent, totals: list[int], index: int
    ) -> None:
        job = read[0].job
        if job.on_event is None:
            return
        if not totals[index]:  # rows differ in what the outcomes begin with, a token or two
            totals[index] = max(map(count_cells, read[2].rows))
        done = min(spent.decoded + spent.reused, totals[index])
        job.tell(Progress("prefill", done, totals[index]))

    def _begin_alone(self) -> None:
        for live in self._live:
            if not live.begun and not live.ended:
                try:
                    self._lay_stem(live)
                except Cancelled:
                    pass
                except Exception as error:
                    with live.lock:
                        self._fail(live, error)

    def _lay_stem(self, live: _Live) -> None:
        """Begin with nothing in the cache but the prompt up to its pictures, in its first cells.

        What follows is then decoded in the same batches and lies in the same cells, whether the
        pictures were decoded just now or for the judgement before.
        """
        demand = live.demands[0]
        units = demand.rows[0] if isinstance(demand, Read) else demand.units
        pictures = [k for k, unit in enumerate(units) if isinstance(unit, ImageSpan)]
        stem = units[: pictures[-1] + 1] if pictures else ()
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

    # --- writing ---

    def _begin_texts(self) -> None:
        """Decode what stands in front of texts that are to be generated, as far as they fit."""
        while True:
            begun: list[_Text] = []
            for live in tuple(self._live):
                self._begin_some(live, begun)
            if not begun:
                return
            appends = [Append(text.sequence, spans_of(text.rest)) for text in begun]
            for text, logits in self._appended(begun, appends):
                text.logits = logits
                self._took(text, text.spent.decoded)
                if text.write.keep and self._pool.free_sequences > 1:
                    self._pool.give_back(self._pool.fork(text.sequence), text.write.units)

    def _begin_some(self, live: _Live, begun: list[_Text]) -> None:
        """Begin the texts of one judgement, but none that could share a prompt with those begun."""
        while writes := live.writes:
            index, write = writes[0]
            room = self._backend.info.n_ctx - count_cells(write.units) - write.reserve
            if not (limit := min(write.most, room)):
                self._answer(live, index, Generated("", 0, "limit"))
                continue
            nearest = self._pool.nearest(write.units)
            if any(common_length(t.write.units, 0, write.units) > nearest[1] for t in begun):
                return
            text = self._begin(live, index, limit, nearest)
            if text is None:
                return
            begun.append(text)

    def _begin(
        self, live: _Live, index: int, limit: int, nearest: tuple[Held | None, int]
    ) -> _Text | None:
        """Take the cells and the sequence of a text, or None where it has to wait for others."""
        write = cast(Write, live.demands[index])
        pool, n_cells = self._pool, count_cells(write.units)
        held, n_units = nearest
        n_units = min(n_units, len(write.units) - 1)  # logits come from decoding
        n_there = count_cells(write.units[:n_units])
        if not pool.make_room(n_cells - n_there + limit, [] if held is None else [held]):
            if self._texts:
                return None
            held, n_units, n_there = None, 0, 0
            pool.make_room(n_cells + limit)
        if not pool.free_sequences:
            return None
        if held is None or not n_there or not pool.can_fork(held):
            n_units, n_there = 0, 0
            sequence = pool.lend()
        else:
            sequence = pool.lend(held, n_there)
        text = _Text(live, index, write, write.begin(limit), sequence, rest=write.units[n_units:])
        text.spent = Spent(n_cells - n_there, n_there)
        text.promised = n_cells - n_there + limit
        pool.promised += text.promised
        live.texts[index] = text
        self._texts.append(text)
        return text

    def _write(self) -> None:
        """Give every text its next token."""
        going: list[_Text] = []
        for text in tuple(self._texts):
            if text.logits is None:
                continue
            found = self._fed(text, text.logits)
            if text.live.ended:
                continue
            if found is None:
                going.append(text)
                done = len(text.writer.tokens)
                text.live.job.tell(Progress("token", done, text.writer.limit))
            else:
                self._leave(text, keep=text.write.keep)
                self._answer(text.live, text.index, replace(found, spent=text.spent))
        if not going:
            return
        appends = [Append(text.sequence, (TextSpan((text.writer.tokens[-1],)),)) for text in going]
        for text, logits in self._appended(going, appends):
            text.logits = logits
            self._took(text, 1)

    def _fed(self, text: _Text, logits: FloatArray) -> Generated | None:
        with text.live.lock:
            if text.live.ended:
                return None
            try:
                return text.writer.feed(logits)
            except Exception as error:
                self._fail(text.live, error)
                return None

    def _appended(
        self, texts: Sequence[_Text], appends: Sequence[Append]
    ) -> list[tuple[_Text, FloatArray]]:
        """What the engine gave for texts; nothing where it failed, and then they have."""
        try:
            rows = self._append(appends, [text.live for text in texts])
        except Cancelled:
            return []
        except Exception as error:
            for text in texts:
                with text.live.lock:
                    self._fail(text.live, error)
            return []
        return [(text, cast(FloatArray, row)) for text, row in zip(texts, rows, strict=True)]

    def _took(self, text: _Text, n_cells: int) -> None:
        text.promised -= n_cells
        self._pool.promised -= n_cells

    def _leave(self, text: _Text, *, keep: bool = False) -> None:
        """Give back what a text holds."""
        self._texts.remove(text)
        self._pool.promised -= text.promised
        units: Units = ()
        if keep:
            n_decoded = text.writer.limit - text.promised
            units = (*text.write.units, *tuple(text.writer.tokens)[:n_decoded])
        self._pool.give_back(text.sequence, units)
