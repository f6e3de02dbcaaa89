"""From a task to the exact pieces that a critic reads, for the runtime and for training alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from edgecritic.errors import InputError
from edgecritic.prompts.template import PLACEHOLDER, Dialect, Setting
from edgecritic.task import Task


@dataclass(frozen=True, slots=True)
class Control:
    """Chat scaffolding: the only text in which control tokens are recognised."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """Ordinary text: whatever it holds, it stays ordinary characters."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """Where the tokens of picture `index` go."""

    index: int


Piece: TypeAlias = Control | Text | ImageSlot


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered judgement. Each piece is tokenized by itself, here and in training.

    Attributes:
        setting: pointwise or pairwise.
        pieces: everything up to the assistant's first word.
        outcomes: the verdicts that can be stated, ascending levels or first, second, tie.
        answers: for each outcome the assistant's text that states it and leads to the rationale.
        end: closes the assistant's turn.
        template: dialect, hash and wording.
    """

    setting: Setting
    pieces: tuple[Piece, ...]
    outcomes: tuple[int | str, ...]
    answers: tuple[str, ...]
    end: Control
    template: str

    @property
    def text(self) -> str:
        """The prompt for people to read; pictures stand as ``<image N>``."""
        return "".join(
            f"<image {piece.index + 1}>" if isinstance(piece, ImageSlot) else piece.text
            for piece in self.pieces
        )


def _fill(line: str, values: Mapping[str, str | None]) -> str | None:
    """The line with its placeholders filled, or None if one of them has nothing to say.

    Values are put in by one pass over the template, so braces in a user's text stay as they are.
    """
    names = PLACEHOLDER.findall(line)
    if any(values[name] is None for name in names):
        return None
    return PLACEHOLDER.sub(lambda match: values[match[1]] or "", line)


def _lines(wording: str, values: Mapping[str, str | None], task: Task) -> Iterator[str]:
    for line in wording.split("\n"):
        if "{level_text}" in line:
            for level, text in task.rubric.levels.items():
                yield _fill(line, {**values, "level": str(level), "level_text": text}) or ""
        elif (filled := _fill(line, values)) is not None:
            yield filled


def _setting(task: Task) -> Setting:
    if len(task.responses) not in (1, 2):
        raise InputError(
            f"a judgement takes one or two responses, not {len(task.responses)}",
            "use rank() for more than two",
        )
    return "pointwise" if len(task.responses) == 1 else "pairwise"


def render(task: Task, dialect: Dialect, wording: int = 0) -> Prompt:
    """Lay out a judgement.

    Pictures come first, then the question, then the responses, so that what several judgements
    share stands in front.

    Args:
        task: what to judge, with one response (pointwise) or two (pairwise).
        dialect: how to ask.
        wording: which of the dialect's wordings; taken modulo their number.

    Raises:
        InputError: the task has no response or more than two.
    """
    setting = _setting(task)
    texts = dialect.wordings[setting]
    number = wording % len(texts)
    values: dict[str, str | None] = {
        "question": task.question.strip(),
        "reference": _unless_blank(task.reference) or None,  # an empty one has nothing to say
        "criteria": _unless_blank(task.rubric.criteria) or None,
    }
    if setting == "pointwise":
        values |= {"low": str(task.rubric.low), "high": str(task.rubric.high)}
        values["response"] = _unless_blank(task.responses[0])
        outcomes: tuple[int | str, ...] = tuple(task.rubric.range)
        labels = [str(level) for level in task.rubric.range]
    else:
        first, second = map(_unless_blank, task.responses)
        values |= {"first": first, "second": second}
        outcomes = ("first", "second", "tie")
        labels = [dialect.labels[str(outcome)] for outcome in outcomes]
    return Prompt(
        setting=setting,
        pieces=tuple(_pieces("\n".join(_lines(texts[number], values, task)), task, dialect)),
        outcomes=outcomes,
        answers=tuple(dialect.answers[setting].stated(label) for label in labels),
        end=Control(dialect.turn_close),
        template=f"{dialect.identity}/{setting}-{number + 1}",
    )


def _unless_blank(text: str | None) -> str:
    """The text; nothing for one of white space alone, which critics take for more than nothing."""
    return text if text is not None and text.strip() else ""


def _pieces(user_text: str, task: Task, dialect: Dialect) -> Iterator[Piece]:
    def opened(role: str) -> str:
        return dialect.turn_open.replace("{role}", role)

    if dialect.system:
        yield Control(opened("system"))
        yield Text(dialect.system)
        yield Control(dialect.turn_close + opened("user"))
    else:
        yield Control(opened("user"))
    for index in range(task.n_images):
        if dialect.picture_open:
            yield Control(dialect.picture_open)
        yield ImageSlot(index)
        if dialect.picture_close:
            yield Control(dialect.picture_close)
    yield Text(dialect.pictures_end + user_text if task.n_images else user_text)
    yield Control(dialect.turn_close + opened("assistant"))
