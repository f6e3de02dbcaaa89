"""What a critic can be asked: to score a response, or to compare two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypedDict, TypeVar, get_args

from edgecritic.errors import InputError
from edgecritic.verdict import Preference, Verdict

if TYPE_CHECKING:
    from edgecritic.pictures import ImageInput
    from edgecritic.task import Rubric

Orders: TypeAlias = Literal["both", "given", "swapped"]
Judged_co = TypeVar("Judged_co", bound=Verdict | Preference, covariant=True)


class Prompting(TypedDict, total=False):
    """How a judgement is asked for.

    Attributes:
        reference: a right answer, if there is one.
        rubric: range and criteria, of which a comparison uses the criteria; the critic's own when
            left out.
        wording: number of the prompt's wording; 0 when left out.
    """

    reference: str | None
    rubric: Rubric | None
    wording: int


class Asking(Prompting, total=False):
    """How one judgement is asked for, and its reason.

    Attributes:
        rationale: also say why; of a comparison, with the responses in the given order. True when
            left out.
        max_rationale_tokens: most tokens of the rationale; 96 when left out.
        temperature: of the rationale's sampling; 0, the default, is greedy. The verdict is never
            sampled.
        seed: of the rationale's sampling; 0 when left out.
    """

    rationale: bool
    max_rationale_tokens: int
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True)
class Asked(Generic[Judged_co]):
    """What both kinds of request have in common, and what they are answered by; see `Asking`."""

    _: KW_ONLY
    reference: str | None = None
    rubric: Rubric | None = None
    rationale: bool = True
    wording: int = 0
    max_rationale_tokens: int = 96
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ScoreRequest(Asked[Verdict]):
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
class CompareRequest(Asked[Preference]):
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


def pairs_of(
    responses: Sequence[str], pairs: Sequence[tuple[int, int]] | None = None
) -> Sequence[tuple[int, int]]:
    """The pairs that are to be compared, checked; every pair where none are named.

    Raises:
        InputError: a pair is none of these responses, or the list is empty.
    """
    n_responses = len(responses)
    if pairs is None:
        return tuple(combinations(range(n_responses), 2))
    if not pairs:
        raise InputError("there are no pairs to compare", "leave pairs out to compare all")
    for i, j in pairs:
        if not (0 <= i < n_responses and 0 <= j < n_responses and i != j):
            raise InputError(
                f"({i}, {j}) is no pair of {n_responses} responses",
                f"give two different indices from 0 to {n_responses - 1}",
            )
    return pairs


def listed(responses: Sequence[str], least: int) -> Sequence[str]:
    """The responses, checked to be a list of at least so many.

    Raises:
        InputError: it is a text, or shorter.
    """
    if isinstance(responses, str) or len(responses) < least:
        raise InputError(
            f"this takes a list of at least {('one response', 'two responses')[least - 1]}",
            "use score() for a single one",
        )
    return responses
