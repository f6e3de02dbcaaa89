"""From a rendered prompt to the token spans that an engine reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from edgecritic.backends.base import Backend, ImageSpan, Span, TextSpan
from edgecritic.judging.demands import Read
from edgecritic.judging.trie import Row, Units, row_length, units_of
from edgecritic.prompts import Control, Dialect, ImageSlot, Piece, Prompt, Setting, render
from edgecritic.scoring import OutcomeTrie
from edgecritic.task import Task
from edgecritic.verdict import Detail

# Rubrics that one process judges by; each holds a few thousand numbers at most.
_REMEMBERED_ANSWERS = 32


@dataclass(frozen=True, slots=True)
class Answers:
    """The verdicts' texts in tokens.

    Attributes:
        tokens: for each outcome the answer that states it, with what leads to the rationale.
        outcomes: the same answers as a trie.
    """

    tokens: tuple[tuple[int, ...], ...]
    outcomes: OutcomeTrie

    @property
    def longest(self) -> int:
        """Tokens of the longest answer."""
        return max(map(len, self.tokens))


@dataclass(frozen=True, slots=True)
class LaidPrompt:
    """A prompt ready for decoding.

    Attributes:
        prompt: what it was rendered to.
        spans: everything up to the assistant's first word.
        answers: what the assistant may say.
    """

    prompt: Prompt
    spans: Row
    answers: Answers

    @property
    def n_tokens(self) -> int:
        return row_length(self.spans)

    @property
    def n_image_tokens(self) -> int:
        return sum(len(span) for span in self.spans if isinstance(span, ImageSpan))

    @property
    def detail(self) -> Detail:
        """In which its pictures are seen."""
        spans = (span for span in self.spans if isinstance(span, ImageSpan))
        return "reduced" if any(span.reduced for span in spans) else "full"

    def read(self, *, behind: Units = (), keep: bool = False, reserve: int = 0) -> Read:
        """The demand that reads its verdict.

        Args:
            behind: what the assistant said before the answer.
            keep: see `Read`.
            reserve: see `Read`.
        """
        prompt, outcomes = units_of(self.spans) + behind, self.answers.outcomes
        rows = tuple((*prompt, *outcomes.forced, *node) for node in outcomes.nodes)
        return Read(rows, outcomes, keep, reserve)


class Layout:
    """Lays out judgements for one engine and one dialect.

    Attributes:
        end_tokens: ids that close the assistant's turn.
    """

    def __init__(self, backend: Backend, dialect: Dialect) -> None:
        self._backend = backend
        self._dialect = dialect
        self._closing = tuple(backend.tokenize(dialect.turn_close, control=True))
        self.end_tokens = frozenset(self._closing[:1])
        self._answers = lru_cache(maxsize=_REMEMBERED_ANSWERS)(self._lay_answers)

    def lay(self, task: Task, pictures: Sequence[ImageSpan], wording: int) -> LaidPrompt:
        """Render a task and tokenize each piece by itself, as training does.

        Raises:
            InputError: the task cannot be rendered.
            VerdictParseError: the dialect states two outcomes by the same tokens.
        """
        prompt = render(task, self._dialect, wording)
        spans = tuple(self._span(piece, pictures) for piece in prompt.pieces)
        return LaidPrompt(
            prompt, tuple(span for span in spans if len(span)), self._answers(prompt.answers)
        )

    def lead_in(self, setting: Setting) -> str:
        """The text that announces a verdict, for generations to stop at."""
        return self._dialect.answers[setting].answer.partition("{verdict}")[0].rstrip()

    def text(self, text: str) -> TextSpan:
        """Ordinary text, in which no control token is recognised."""
        return TextSpan(tuple(self._backend.tokenize(text)))

    def _span(self, piece: Piece, pictures: Sequence[ImageSpan]) -> Span:
        if isinstance(piece, ImageSlot):
            return pictures[piece.index]
        control = isinstance(piece, Control)
        return TextSpan(tuple(self._backend.tokenize(piece.text, control=control)))

    def _lay_answers(self, texts: tuple[str, ...]) -> Answers:
        tokens = [tuple(self._backend.tokenize(text)) for text in texts]
        if self._dialect.reason_first:
            # The verdict ends the turn: only what closes it tells "1" from the beginning of "10".
            tokens = [(*answer, *self._closing) for answer in tokens]
        return Answers(tuple(tokens), OutcomeTrie.build(tokens))
