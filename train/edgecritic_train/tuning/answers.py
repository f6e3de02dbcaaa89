"""Answers to learn: what critic rows call best, as a chat model's reply to its question.

A policy that cannot answer at all has nothing to prefer. So before preference rounds it may learn
to answer, from the rows at the top of their scale: picture and question, and the response.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgecritic.prompts import Dialect, load_dialect
from edgecritic_train.critic_data.rows import CriticRow
from edgecritic_train.tuning.base import Base
from edgecritic_train.tuning.config import TuningConfig
from edgecritic_train.tuning.examples import (
    Example,
    ExampleMaker,
    IntArray,
    Measure,
    Seen,
    naming,
    picture_size,
)
from edgecritic_train.tuning.families import Size
from edgecritic_train.tuning.pairs import policy_prompt
from edgecritic_train.tuning.prepare import Lesson, Prepared, Tell, at_the_top, prepare


class AnswerMaker:
    """Lays answers out; see `edgecritic_train.tuning.prepare.Maker`.

    Args:
        maker: its tokenizer is used.
        base: looks at the pictures.
    """

    def __init__(self, maker: ExampleMaker, base: Base) -> None:
        self._maker, self._eye = maker, base.eye

    @property
    def dialect(self) -> Dialect:
        """Of the rows' prompts, which answers are not asked in."""
        return self._maker.dialect

    def look(self, row: CriticRow) -> Seen:
        """The row's pictures; see `ExampleMaker.look`."""
        return self._maker.look(row)

    def make(self, row: CriticRow, seen: Seen | None = None) -> Example:
        """An answer with its pictures.

        Raises:
            CriticError: a picture cannot be used; the message names the row.
        """
        seen = seen or self.look(row)
        with naming(row):
            tokens, parts = self._laid(row, seen.sizes)
        return Example(row.id, tokens, parts, seen.pictures)

    def measure(self, row: CriticRow) -> Measure:
        """What a row takes; of its pictures, only the headers are read.

        Raises:
            CriticError: as in `make`.
        """
        with naming(row):
            sizes = [picture_size(ref) for ref in row.images]
            return self._maker.measured(self._laid(row, sizes)[0])

    def _laid(self, row: CriticRow, sizes: Sequence[Size]) -> tuple[IntArray, IntArray]:
        prompt = policy_prompt(row.question, len(sizes), framed=self._eye.framed)
        return self._maker.answered(prompt, sizes, row.responses[0])


def prepare_answers(config: TuningConfig, base: Base, tell: Tell) -> Prepared[AnswerMaker]:
    """The answers of a run: responses of pointwise rows at the top of their scale.

    Raises:
        CriticError: as `edgecritic_train.tuning.prepare.prepare`.
    """
    maker = AnswerMaker(ExampleMaker(base, load_dialect(config.data.dialect)), base)
    return prepare(config, Lesson(maker, at_the_top, "right answers", base.folder.context), tell)
