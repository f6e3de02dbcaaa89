"""Free text from a critic's language model: any conversation, several answers, grammars.

A critic is trained to judge, and its judgements come from logits. This is for whoever asks it as
they would ask any chat model; what it says then is only as good as its language model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from edgecritic.backends.base import Backend, Cancelled, CancelToken, ImageSpan, Span, TextSpan
from edgecritic.errors import ContextOverflowError
from edgecritic.judging.choosing import Vocabulary
from edgecritic.judging.demands import Steps, Write, writing
from edgecritic.judging.jobs import Job
from edgecritic.judging.trie import units_of
from edgecritic.judging.writing import ChatOptions, ChatPiece, ChatWriter
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


@dataclass(slots=True, eq=False, kw_only=True)
class ChatJob(Job):
    """A conversation to answer.

    Attributes:
        image: the pictures that the turns show.
        turns: the conversation.
        options: how to answer.
    """

    image: ImageInput
    turns: Sequence[Turn]
    options: ChatOptions


class Chat:
    """Answers conversations; the engine is left to whoever runs the steps.

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

    def steps(self, job: ChatJob, cancel: CancelToken) -> Steps[ChatUsage]:
        """Tell the answers' pieces, those of several answers as they come; then what it cost.

        Raises:
            InputError: the conversation cannot be answered.
            ContextOverflowError: it does not fit.
        """
        try:
            pictures = self._pictures.spans(job.image, cancel)
        except Cancelled:
            return self.unjudged(job)
        options = job.options
        spans = self._spans(job.turns, pictures, options.continued)
        n_prompt = sum(map(len, spans))
        if n_prompt >= self._backend.info.n_ctx:
            raise ContextOverflowError(
                f"the conversation has {n_prompt} tokens, the context {self._backend.info.n_ctx}",
                "shorten it, or use fewer pictures",
            )
        answers = yield from writing(
            [
                Write(units_of(spans), options.max_tokens, self._writer(job, number), keep=True)
                for number in range(options.n)
            ]
        )
        for number, answer in enumerate(answers):
            if answer.ended == "cancelled":
                job.tell(ChatPiece(number, "", ended="cancelled"))
        n_image = sum(len(span) for span in spans if isinstance(span, ImageSpan))
        return ChatUsage(n_prompt, n_image, sum(answer.n_tokens for answer in answers))

    def unjudged(self, job: ChatJob) -> ChatUsage:
        """See `Maker.unjudged`."""
        job.tell(ChatPiece(0, "", ended="cancelled"))
        return ChatUsage(0, 0, 0)

    def _writer(self, job: ChatJob, number: int) -> Callable[[int], ChatWriter]:
        return partial(ChatWriter, self._vocabulary, self._ends, job.options, number, tell=job.tell)

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
