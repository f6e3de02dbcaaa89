"""Free text from a critic's language model: any conversation, several answers, grammars.

A critic is trained to judge, and its judgements come from logits. This is for whoever asks it as
they would ask any chat model; what it says then is only as good as its language model.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgecritic.backends.base import Backend, Cancelled, ImageSpan, Span, TextSpan
from edgecritic.errors import ContextOverflowError
from edgecritic.judging.choosing import Vocabulary
from edgecritic.judging.writing import ChatOptions, ChatPiece, Writer, extended
from edgecritic.pictures import ImageInput, PictureEncoder
from edgecritic.prompts import Control, Dialect, ImageSlot
from edgecritic.prompts.conversation import Turn, render_conversation


@dataclass(frozen=True, slots=True)
class ChatUsage:
    """What it cost, in tokens.

    Attributes:
        prompt_tokens: of the conversation, pictures included.
        image_tokens: how many of them came from pictures.
        written_tokens: of all answers.
    """

    prompt_tokens: int
    image_tokens: int
    written_tokens: int


class Chat:
    """Answers conversations with an engine; between answers no sequence is open.

    Args:
        backend: the engine.
        dialect: how turns are framed.
        pictures: encodes what it is to look at.
    """

    def __init__(self, backend: Backend, dialect: Dialect, pictures: PictureEncoder) -> None:
        self._backend = backend
        self._dialect = dialect
        self._pictures = pictures

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self._backend)

    @cached_property
    def _ends(self) -> frozenset[int]:
        closing = self._backend.tokenize(self._dialect.turn_close, control=True)
        return self._backend.info.end_tokens | frozenset(closing[:1])

    def answer(
        self, image: ImageInput, turns: Sequence[Turn], options: ChatOptions
    ) -> Generator[ChatPiece | ChatUsage, None, None]:
        """The answers' pieces, one answer after the other, and in the end what it cost.

        Args:
            image: the pictures that the turns show.
            turns: the conversation.
            options: how to answer.

        Raises:
            InputError: the conversation cannot be answered.
            ContextOverflowError: it does not fit.
        """
        try:
            pictures = self._pictures.spans(image, options.cancel)
            spans = self._spans(turns, pictures, options.continued)
        except Cancelled:
            yield ChatPiece(0, "", ended="cancelled")
            yield ChatUsage(0, 0, 0)
            return
        n_prompt = sum(map(len, spans))
        if n_prompt >= self._backend.info.n_ctx:
            raise ContextOverflowError(
                f"the conversation has {n_prompt} tokens, the context {self._backend.info.n_ctx}",
                "shorten it, or use fewer pictures",
            )
        n_written = yield from self._answers(spans, options)
        n_image = sum(len(span) for span in spans if isinstance(span, ImageSpan))
        yield ChatUsage(n_prompt, n_image, n_written)

    def _answers(
        self, spans: tuple[Span, ...], options: ChatOptions
    ) -> Generator[ChatPiece, None, int]:
        """Decode the conversation once and fork it for each answer."""
        prompt = self._backend.open_sequence()
        n_written = 0
        try:
            try:
                logits = extended(self._backend, prompt, spans, options.cancel)
            except Cancelled:
                yield ChatPiece(0, "", ended="cancelled")
                return 0
            for number in range(options.n):
                sequence = self._backend.fork(prompt)
                try:
                    writer = Writer(self._backend, sequence, self._ends, options, number)
                    n_written += yield from writer.write(logits, self._vocabulary)
                finally:
                    self._backend.close_sequence(sequence)
        finally:
            self._backend.close_sequence(prompt)
        return n_written

    def _spans(
        self, turns: Sequence[Turn], pictures: Sequence[ImageSpan], continued: bool
    ) -> tuple[Span, ...]:
        spans: list[Span] = []
        for piece in render_conversation(turns, self._dialect, continued=continued):
            if isinstance(piece, ImageSlot):
                spans.append(pictures[piece.index])
            else:
                control = isinstance(piece, Control)
                spans.append(TextSpan(tuple(self._backend.tokenize(piece.text, control=control))))
        return tuple(span for span in spans if len(span))
