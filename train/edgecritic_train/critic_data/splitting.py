"""Which split a group goes to: fixed by its name, so rows of one picture never part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from edgecritic.errors import InputError
from edgecritic_train.critic_data.rows import CriticRow, Split
from edgecritic_train.critic_data.templates import stable_number

_STEPS = 1 << 64


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of the groups is held out.

    Attributes:
        validation: share in [0, 1).
        test: share in [0, 1); both together below 1.
        seed: another one holds out other groups.

    Raises:
        InputError: the shares are not so.
    """

    validation: float = 0.0
    test: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or not self.validation + self.test < 1:
            raise InputError(
                f"held-out shares are {self.validation:g} and {self.test:g}",
                "give shares from 0 up that leave something to train on, such as 0.02",
            )

    def split(self, group: str) -> Split:
        """The split of a group."""
        place = stable_number("split", self.seed, group) / _STEPS
        if place < self.test:
            return "test"
        return "validation" if place < self.test + self.validation else "train"


def held_out(rows: Iterable[CriticRow], shares: Shares) -> Iterator[CriticRow]:
    """The rows with their splits; rows that are not for training already stay as they are."""
    for row in rows:
        yield row if row.split != "train" else replace(row, split=shares.split(row.group))
