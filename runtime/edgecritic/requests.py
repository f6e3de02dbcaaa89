"""What a critic can be asked: to score a response, or to compare two."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from edgecritic.errors import InputError

if TYPE_CHECKING:
    from edgecritic.pictures import ImageInput
    from edgecritic.task import Rubric

Orders: TypeAlias = Literal["both", "given", "swapped"]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What both kinds of request have in common; see `Critic.score`."""

    _: KW_ONLY
    reference: str | None = None
    rubric: Rubric | None = None
    rationale: bool = True
    wording: int = 0
    max_rationale_tokens: int = 96
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ScoreRequest(_Asked):
    """Score one response.

    Attributes:
        image: a path, encoded bytes, a PIL image, a list of them, or None for text only.
        question: what was asked.
        response: what was answered; empty is legal.
        reference: a right answer, if there is one.
        rubric: range and criteria; the critic's own range when left out.
        rationale: also say why.
        wording: number of the prompt's wording.
        max_rationale_tokens: most tokens of the rationale.
        temperature: of the rationale's sampling; 0 is greedy. The verdict is never sampled.
        seed: of the rationale's sampling.
    """

    image: ImageInput
    question: str
    response: str

    @property
    def responses(self) -> tuple[str, ...]:
        """What is judged."""
        return (self.response,)


@dataclass(frozen=True, slots=True)
class CompareRequest(_Asked):
    """Say which of two responses is better.

    Attributes:
        image: as in `ScoreRequest`, like all that is not named here.
        question: what was asked.
        first: one response.
        second: the other one.
        orders: ``"both"`` shows the responses in both orders, which cancels a bias towards a
            position; ``"given"`` and ``"swapped"`` show them in one.
        rationale: also say why, with the responses in the given order.

    Raises:
        InputError: `orders` is none of these.
    """

    image: ImageInput
    question: str
    first: str
    second: str
    _: KW_ONLY
    orders: Orders = "both"

    def __post_init__(self) -> None:
        if self.orders not in get_args(Orders):
            raise InputError(
                f"orders is {self.orders!r}", f"give one of {', '.join(get_args(Orders))}"
            )

    @property
    def responses(self) -> tuple[str, ...]:
        """What is judged."""
        return (self.first, self.second)


Request: TypeAlias = ScoreRequest | CompareRequest
