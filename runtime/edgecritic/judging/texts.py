"""Texts that are generated side by side: each gets its next token in a batch that all share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

from edgecritic.backends.base import Append, Backend, Cancelled, FloatArray, TextSpan
from edgecritic.judging.demands import Write, Writing
from edgecritic.judging.generation import Generated
from edgecritic.judging.live import Live
from edgecritic.judging.pool import Held, PrefixPool
from edgecritic.judging.trie import Units, common_length, count_cells, spans_of
from edgecritic.judging.walk import Spent
from edgecritic.progress import Progress

AppendFor: TypeAlias = Callable[[Sequence[Append], Sequence[Live]], list[FloatArray | None]]
"""`Backend.append`, and for whom."""


@dataclass(slots=True, eq=False)
class _Text:
    """A text that is being generated.

    Attributes:
        live: whose it is.
        index: of the demand.
        write: the demand.
        writer: chooses the tokens.
        sequence: of the backend.
        rest: of the prompt, what was not decoded yet when it began.
        spent: what the prompt costs.
        promised: cells that it has not taken yet.
        logits: after the last token that was decoded.
    """

    live: Live
    index: int
    write: Write
    writer: Writing
    sequence: int
    rest: Units
    spent: Spent
    promised: int
    logits: FloatArray | None = None


class Texts:
    """All texts of one engine.

    Args:
        backend: the engine.
        pool: its sequences.
        append: decodes, for some judgements.
    """

    def __init__(self, backend: Backend, pool: PrefixPool, append: AppendFor) -> None:
        self._n_ctx = backend.info.n_ctx
        self._pool = pool
        self._append = append
        self._texts: list[_Text] = []

    def __bool__(self) -> bool:
        return bool(self._texts)

    @property
    def n_cells(self) -> int:
        """Cells that they have and may still take, as if none shared any."""
        return sum(
            text.spent.decoded + text.spent.reused + text.writer.limit + text.write.reserve
            for text in self._texts
        )

    def begin(self, lives: Iterable[Live]) -> None:
        """Decode what stands in front of texts that are demanded, as far as they fit."""
        lives = tuple(lives)
        while True:
            begun: list[_Text] = []
            for live in lives:
                self._begin_some(live, begun)
            if not begun:
                return
            appends = [Append(text.sequence, spans_of(text.rest)) for text in begun]
            for text, logits in self._appended(begun, appends):
                text.logits = logits
                self._took(text, text.spent.decoded)
                if text.write.keep and self._pool.free_sequences > 1:
                    self._pool.give_back(self._pool.fork(text.sequence), text.write.units)

    def write(self) -> None:
        """Give every text its next token."""
        going: list[_Text] = []
        for text in tuple(self._texts):
            if text.logits is None:
                continue
            found = text.live.feed(text.index, text.logits)
            if text.live.ended:
                continue
            if found is None:
                going.append(text)
                done = len(text.writer.tokens)
                text.live.job.tell(Progress("token", done, text.writer.limit))
            else:
                self._leave(text, keep=text.write.keep)
                text.live.answer(text.index, replace(found, spent=text.spent))
        if not going:
            return
        appends = [Append(text.sequence, (TextSpan((text.writer.tokens[-1],)),)) for text in going]
        for text, logits in self._appended(going, appends):
            text.logits = logits
            self._took(text, 1)

    def drop_ended(self) -> None:
        """Give back what texts hold whose judgements have ended."""
        for text in [text for text in self._texts if text.live.ended]:
            self._leave(text)

    def _begin_some(self, live: Live, begun: list[_Text]) -> None:
        """Begin the texts of one judgement, but none that could share a prompt with those begun."""
        while writes := live.writes:
            index, write = writes[0]
            limit = min(write.most, self._n_ctx - count_cells(write.units) - write.reserve)
            if not limit:
                live.answer(index, Generated("", 0, "limit"))
                continue
            nearest = self._pool.nearest(write.units)
            if any(common_length(t.write.units, 0, write.units) > nearest[1] for t in begun):
                return
            text = self._begun(live, index, limit, nearest)
            if text is None:
                return
            begun.append(text)

    def _begun(
        self, live: Live, index: int, limit: int, nearest: tuple[Held | None, int]
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
            held = None
            pool.make_room(n_cells + limit)
        if not pool.free_sequences:
            return None
        if held is None or not n_there or not pool.can_fork(held):
            n_units, n_there = 0, 0
            sequence = pool.lend()
        else:
            sequence = pool.lend(held, n_there)
        live.writers[index] = writer = write.begin(limit)
        spent, promised = Spent(n_cells - n_there, n_there), n_cells - n_there + limit
        text = _Text(live, index, write, writer, sequence, write.units[n_units:], spent, promised)
        pool.promised += promised
        self._texts.append(text)
        return text

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
                text.live.fail(error)
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
