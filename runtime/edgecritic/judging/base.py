"""What a `Critic` asks of whatever judges for it: an engine here, or an endpoint elsewhere."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

from edgecritic.backends.base import CancelToken, EngineInfo
from edgecritic.judging.generation import Sampling
from edgecritic.judging.results import Shown
from edgecritic.pictures import ImageInput
from edgecritic.task import Task
from edgecritic.verdict import Preference, Ranking, Verdict

Judged = TypeVar("Judged", Verdict, Preference)
Orders: TypeAlias = Literal["both", "given", "swapped"]
SHOWN: Final[Mapping[Orders, tuple[Shown, ...]]] = {
    "both": ("first", "second"),
    "given": ("first",),
    "swapped": ("second",),
}


@dataclass(frozen=True, slots=True)
class Options:
    """How to judge.

    Attributes:
        rationale: generate the reason, too.
        wording: which of the dialect's wordings to ask in.
        sampling: of the rationale.
        cancel: stops the judgement.
    """

    rationale: bool = True
    wording: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    cancel: CancelToken | None = None


class Judging(Protocol):
    """Makes judgements of tasks that were checked already.

    What happens while the items of a stream are asked for raises there. A judgement that was
    cancelled is a result; whatever else keeps one from being made is a `CriticError`.
    """

    @property
    def info(self) -> EngineInfo:
        """What judges, for reports."""
        ...

    @property
    def concurrent(self) -> bool:
        """Several threads may judge at once; if not, the critic lets them take turns."""
        ...

    def pointwise(
        self, image: ImageInput, task: Task, options: Options
    ) -> Generator[Verdict | str, None, None]:
        """Judge one response: the verdict, the rationale's pieces, the verdict with all of it."""
        ...

    def pairwise(
        self, image: ImageInput, task: Task, orders: Orders, options: Options
    ) -> Generator[Preference | str, None, None]:
        """Judge two responses; the rationale speaks of them in the given order."""
        ...

    def rank_pairwise(
        self,
        image: ImageInput,
        task: Task,
        responses: Sequence[str],
        options: Options,
        pairs: Sequence[tuple[int, int]],
    ) -> Ranking:
        """Compare these pairs of `responses`, each in both orders; `task` names the rest."""
        ...

    def rank_adaptive(
        self, image: ImageInput, task: Task, responses: Sequence[str], options: Options
    ) -> Ranking:
        """Compare as few ordered pairs of `responses` as tell their order."""
        ...

    def rank_pointwise(
        self, image: ImageInput, task: Task, responses: Sequence[str], options: Options
    ) -> Ranking:
        """Score every response by itself; `task` names the rest."""
        ...

    def close(self) -> None:
        """Free what is held. Idempotent."""
        ...
