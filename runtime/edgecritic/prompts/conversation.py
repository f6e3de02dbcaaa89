"""Any conversation in a dialect's chat form, for a critic that is asked as a chat model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgecritic.errors import InputError
from edgecritic.prompts.render import Control, ImageSlot, Piece, Text
from edgecritic.prompts.template import Dialect

Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says.

    Attributes:
        role: who says it.
        parts: texts, and the places of pictures.
    """

    role: Role
    parts: tuple[str | ImageSlot, ...]


def render_conversation(
    turns: Sequence[Turn], dialect: Dialect, *, continued: bool = False
) -> tuple[Piece, ...]:
    """Lay out a conversation up to the assistant's first word.

    Without a system turn of its own, it gets the dialect's. What the turns hold is ordinary text:
    control tokens in it stay characters.

    Args:
        turns: at least one.
        dialect: how turns and pictures are framed.
        continued: the last turn is the assistant's, and is to be continued.

    Raises:
        InputError: there is nothing to answer, or nothing to continue.
    """
    if not turns:
        raise InputError("the conversation is empty", "send at least one message")
    if continued and turns[-1].role != "assistant":
        raise InputError(
            f"the last message is the {turns[-1].role}'s, and was to be continued",
            "end with a message of the assistant",
        )
    if turns[0].role != "system" and dialect.system:
        turns = [Turn("system", (dialect.system,)), *turns]
    pieces: list[Piece] = []
    for number, turn in enumerate(turns, start=1):
        pieces.append(Control(dialect.turn_open.replace("{role}", turn.role)))
        pieces += _content(turn, dialect)
        if not (continued and number == len(turns)):
            pieces.append(Control(dialect.turn_close))
    if not continued:
        pieces.append(Control(dialect.turn_open.replace("{role}", "assistant")))
    return tuple(pieces)


def _content(turn: Turn, dialect: Dialect) -> Iterator[Piece]:
    behind_picture = False
    for part in turn.parts:
        if isinstance(part, ImageSlot):
            if dialect.picture_open:
                yield Control(dialect.picture_open)
            yield part
            if dialect.picture_close:
                yield Control(dialect.picture_close)
        elif part:
            yield Text(dialect.pictures_end + part if behind_picture else part)
        behind_picture = isinstance(part, ImageSlot)
