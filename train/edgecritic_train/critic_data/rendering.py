r"""A row as the prompt that the runtime will ask, and the answer that training teaches.

The runtime tokenizes each piece of a prompt by itself, forces the beginning of the answer, reads
the verdict and then lets the model write. Training that tokenizes the same pieces in the same way
teaches exactly what will be asked::

    prompt.pieces | Taught("verdict", "Score: 7\nReason:") | Taught("reason", " The ...") | end

- A `Taught` text is ordinary text: whatever it holds, no control token is recognised in it.
- ``prompt.answers`` states all verdicts; ``prompt.answers[outcome]`` is this row's, so
  ``OutcomeTrie.build`` over their tokens tells which tokens decide.
- Where `ends` is true, the first token of ``prompt.end`` is learned behind the last text. A row
  without a reason does not end: its answer breaks off where the reason would begin.
- Dialects that reason first have the reason's text in front, then the verdict, which ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from edgecritic.errors import InputError
from edgecritic.prompts import Dialect, ImageSlot, Prompt, Text, render
from edgecritic.prompts.template import AnswerForm
from edgecritic_train.critic_data.rows import CriticRow

Part: TypeAlias = Literal["verdict", "reason"]
# The runtime ends a reason at the first empty line.
_EMPTY_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Taught:
    """A piece of the assistant's turn, tokenized by itself."""

    part: Part
    text: str


@dataclass(frozen=True, slots=True)
class RenderedRow:
    """What training shows of a row.

    Attributes:
        prompt: the runtime's own; everything up to the assistant's first word.
        outcome: index of the row's verdict in ``prompt.outcomes`` and ``prompt.answers``.
        taught: the assistant's turn, in order.
        label: first and last character + 1 of the verdict itself ("7", "first") in the text of
            the piece whose part is ``verdict``.
        ends: whether the end of the turn is taught.
    """

    prompt: Prompt
    outcome: int
    taught: tuple[Taught, ...]
    label: tuple[int, int]
    ends: bool

    @property
    def verdict(self) -> str:
        """The text that states the verdict, with what announces it."""
        return next(piece.text for piece in self.taught if piece.part == "verdict")

    @property
    def reason(self) -> str:
        """The reason's text with the blank that parts it; empty if there is none."""
        return "".join(piece.text for piece in self.taught if piece.part == "reason")

    @property
    def answer(self) -> str:
        """The whole assistant's turn, without what closes it."""
        return "".join(piece.text for piece in self.taught)


def render_row(row: CriticRow, dialect: Dialect) -> RenderedRow:
    """Lay out a row in a dialect.

    Raises:
        InputError: the dialect reasons first and the row has no reason.
    """
    prompt = render(row.task, dialect, row.wording)
    outcome = prompt.outcomes.index(row.verdict)
    form = dialect.answers[prompt.setting]
    stated = Taught("verdict", prompt.answers[outcome])
    reason = _EMPTY_LINES.sub("\n", row.reason.strip())
    taught: tuple[Taught, ...]
    if dialect.reason_first:
        if not reason:
            raise InputError(
                f"there is no reason, and the dialect {dialect.name} reasons first",
                "leave such rows out, or train in a dialect that states the verdict first",
            )
        taught, ends = (Taught("reason", reason), stated), True
    elif reason:
        taught, ends = (stated, Taught("reason", f" {reason}")), True
    else:
        taught, ends = (stated,), False
    return RenderedRow(prompt, outcome, taught, _label(form, stated.text), ends)


def asking(prompt: Prompt, question: str, dialect: Dialect) -> Prompt:
    """A judgement's prompt with a question itself in place of its words; its opening is equal.

    Args:
        prompt: as `render` lays it out.
        question: to be answered.
        dialect: of the prompt.
    """
    *opening, _, closing = prompt.pieces
    shown = any(isinstance(piece, ImageSlot) for piece in opening)
    text = Text((dialect.pictures_end if shown else "") + question.strip())
    return replace(prompt, pieces=(*opening, text, closing))


def _label(form: AnswerForm, stated: str) -> tuple[int, int]:
    before, _, behind = form.answer.partition("{verdict}")
    return len(before), len(stated) - len(behind) - len(form.reason)
