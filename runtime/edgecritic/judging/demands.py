"""What a judgement asks of an engine, so that several judgements can be served together.

A judgement is a generator: it yields demands, is sent what they gave, and returns its result.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from edgecritic.backends.base import FloatArray
from edgecritic.judging.generation import Generated
from edgecritic.judging.trie import Units
from edgecritic.judging.walk import Spent
from edgecritic.scoring import OutcomeTrie

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """The probabilities of what may be said behind a prompt.

    Attributes:
        rows: the prompt with each of the outcomes' branching points behind it.
        outcomes: what may be said.
        keep: the first row is needed again.
        reserve: cells that must fit behind the first row.
    """

    rows: tuple[Units, ...]
    outcomes: OutcomeTrie
    keep: bool = False
    reserve: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """What a `Read` gave.

    Attributes:
        joint: (n_outcomes,) joint log-probabilities.
        spent: what it cost.
    """

    joint: NDArray[np.float64]
    spent: Spent


class Writing(Protocol):
    """Turns rows of logits to text, one token a row."""

    @property
    def tokens(self) -> Sequence[int]:
        """What was generated."""
        ...

    @property
    def limit(self) -> int:
        """Most tokens to generate."""
        ...

    def feed(self, logits: FloatArray) -> Generated | None:
        """Choose the next token, the last of `tokens` then; or say how the text ended.

        Args:
            logits: (n_vocab,) float32, the row after the last token.
        """
        ...

    def cancelled(self) -> Generated:
        """What was shown so far."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """Text generated behind a prompt.

    Attributes:
        units: the prompt.
        most: tokens at most.
        begin: begins the text, given how many tokens there is room for, at most `most`.
        reserve: cells that must fit behind prompt and text.
        keep: prompt and text are needed again.
    """

    units: Units
    most: int
    begin: Callable[[int], Writing]
    reserve: int = 0
    keep: bool = False


Demand: TypeAlias = Read | Write
Answer: TypeAlias = Readout | Generated
Steps: TypeAlias = Generator[Sequence[Demand], Sequence[Answer], Result]


def reading(demands: Sequence[Read]) -> Steps[list[Readout]]:
    """Read several prompts at once."""
    return [cast(Readout, found) for found in (yield demands)]


def writing(demands: Sequence[Write]) -> Steps[list[Generated]]:
    """Write several texts at once."""
    return [cast(Generated, found) for found in (yield demands)]
