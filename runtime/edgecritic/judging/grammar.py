"""Texts that a generation may make, as grammars over bytes, followed one byte at a time.

A grammar is a tree of parts. What may still follow is a set of stacks of parts: a text is within
the grammar as long as one stack is left. Stacks share their tails, so a step costs little more than
the few stacks that are alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from edgecritic.errors import InputError

# Of the shortest text of a part: what is longer would not be completed in any answer.
_MOST_BYTES = 4096


class Part:
    """A part of a grammar; compared by identity.

    Attributes:
        shortest: the shortest text that it stands for.
    """

    shortest: bytes

    def unfolded(self) -> Iterator[tuple[Part, ...]]:
        """The sequences of parts that it may stand for."""
        raise NotImplementedError


class OneOf(Part):
    """One byte of a set."""

    def __init__(self, choices: Iterable[int]) -> None:
        self.choices = frozenset(choices)
        self.shortest = bytes([min(self.choices)])


_BYTES = [OneOf({byte}) for byte in range(256)]


class Literal(Part):
    """One text, from some place on."""

    def __init__(self, text: bytes, place: int = 0) -> None:
        self._text, self._place = text, place

    @property
    def shortest(self) -> bytes:  # type: ignore[override]  # read-only here
        return self._text[self._place :]

    @cached_property
    def _rest(self) -> Part:
        return Literal(self._text, self._place + 1)

    def unfolded(self) -> Iterator[tuple[Part, ...]]:
        if self._place == len(self._text):
            yield ()
        else:
            yield (_BYTES[self._text[self._place]], self._rest)


class InTurn(Part):
    """Parts one after another.

    Raises:
        InputError: even the shortest text of them is too long.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = tuple(parts)
        _check_length(sum(len(part.shortest) for part in parts))
        self.shortest = b"".join(part.shortest for part in parts)

    def unfolded(self) -> Iterator[tuple[Part, ...]]:
        yield self._parts


class Either(Part):
    """One of several parts."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = tuple(parts)
        self.shortest = min((part.shortest for part in parts), key=len)

    def unfolded(self) -> Iterator[tuple[Part, ...]]:
        for part in self._parts:
            yield (part,)


class Repeated(Part):
    """A part so many times; any number of them when `high` is None.

    Raises:
        InputError: even the shortest text of them is too long.
    """

    def __init__(self, part: Part, low: int = 0, high: int | None = None) -> None:
        self._part = part
        self._low, self._high = low, high
        _check_length(len(part.shortest) * low)
        self.shortest = part.shortest * low

    @cached_property
    def _rest(self) -> Part:
        """What follows the first time; without bounds it is the same again."""
        low, high = self._low, self._high
        if not low and high is None:
            return self
        return Repeated(self._part, max(0, low - 1), None if high is None else high - 1)

    def unfolded(self) -> Iterator[tuple[Part, ...]]:
        if not self._low:
            yield ()
        if self._high != 0:
            yield (self._part, self._rest)


class Later(Part):
    """A part that is made when it is reached; its shortest text must be known before."""

    def __init__(self, make: Callable[[], Part], shortest: bytes) -> None:
        self._make = make
        self.shortest = shortest

    @cached_property
    def _made(self) -> Part:
        return self._make()

    def unfolded(self) -> Iterator[tuple[Part, ...]]:
        yield (self._made,)


def _check_length(n_bytes: int) -> None:
    if n_bytes > _MOST_BYTES:
        raise InputError(
            f"the shortest text that may be written has {n_bytes:,} bytes",
            f"allow one of at most {_MOST_BYTES:,}",
        )


def literal(text: bytes) -> Part:
    """Exactly this text."""
    return Literal(text)


def in_turn(*parts: Part | bytes) -> Part:
    """Parts and texts one after another."""
    return InTurn([literal(part) if isinstance(part, bytes) else part for part in parts])


def either(parts: Sequence[Part | bytes]) -> Part:
    """One of several parts and texts."""
    return Either([literal(part) if isinstance(part, bytes) else part for part in parts])


Stack: TypeAlias = tuple[Part, Any] | None
"""A part and the stack below it; None is the end of the text."""


class State:
    """Where in a grammar a text has come to; never changed.

    Attributes:
        complete: the text may end here.
        following: bytes that may follow.
    """

    def __init__(self, stacks: Iterable[Stack]) -> None:
        self.complete = False
        self._heads: list[tuple[OneOf, Stack]] = []
        for stack in _unfolded(stacks):
            if stack is None:
                self.complete = True
            elif isinstance(stack[0], OneOf):
                self._heads.append((stack[0], stack[1]))
        self.following = frozenset[int]().union(*(head.choices for head, _ in self._heads))
        self._steps: dict[int, State | None] = {}

    def step(self, byte: int) -> State | None:
        """Where one more byte leads to; None if it may not follow."""
        if byte not in self._steps:
            stacks = [rest for head, rest in self._heads if byte in head.choices]
            self._steps[byte] = State(stacks) if stacks else None
        return self._steps[byte]

    def read(self, text: bytes) -> State | None:
        """Where more text leads to; None if it may not follow."""
        state: State | None = self
        for byte in text:
            state = None if state is None else state.step(byte)
        return state

    @cached_property
    def closing(self) -> bytes:
        """The shortest text that completes this one."""
        if self.complete:
            return b""
        return min((head.shortest + _shortest(rest) for head, rest in self._heads), key=len)


def _unfolded(stacks: Iterable[Stack]) -> Iterator[Stack]:
    """All stacks that begin with a byte, each once, and the end of the text."""
    pending, seen = list(stacks), set[Stack]()
    while pending:
        stack = pending.pop()
        if stack in seen:
            continue
        seen.add(stack)
        if stack is None or isinstance(stack[0], OneOf):
            yield stack
            continue
        part, rest = stack
        for parts in part.unfolded():
            below = rest
            for one in reversed(parts):
                below = (one, below)
            pending.append(below)


def _shortest(stack: Stack) -> bytes:
    text = b""
    while stack is not None:
        part, stack = stack
        text += part.shortest
    return text


def begin(part: Part) -> State:
    """The state of an empty text."""
    return State([(part, None)])
