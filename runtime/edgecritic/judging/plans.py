"""Several judgements as plans: what is asked for, round by round, and what comes of the answers.

A plan yields requests and is sent their results. Who carries it out may wait for them in a thread
or in an event loop.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from time import perf_counter
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from edgecritic.errors import InputError, VerdictParseError
from edgecritic.judging.adaptive import Pair
from edgecritic.judging.results import pairwise_ranking, pointwise_ranking, summed
from edgecritic.judging.rounds import rank_in_rounds
from edgecritic.manifest import Calibration
from edgecritic.pictures import ImageInput
from edgecritic.requests import (
    CompareRequest,
    Orders,
    Prompting,
    Request,
    ScoreRequest,
    listed,
    pairs_of,
)
from edgecritic.verdict import Preference, Ranking, Verdict

Made = TypeVar("Made")
Plan: TypeAlias = Generator[Sequence[Request], Sequence[Any], Made]
Method: TypeAlias = Literal["pairwise", "adaptive", "pointwise"]


class Panel:
    """Responses about one picture, and how they are judged.

    Args:
        image: as for `Critic.score`.
        question: what was asked.
        responses: what was answered.
        least: responses that there must be.
        prompting: how all of it is asked for.

    Raises:
        InputError: there are fewer responses.
    """

    def __init__(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        least: int,
        prompting: Prompting,
    ) -> None:
        self._image = image
        self._question = question
        self._responses = listed(responses, least)
        self._prompting = prompting

    def scores(self, *, rationale: bool = False) -> Plan[list[Verdict]]:
        """A verdict for each response."""
        found = yield [
            ScoreRequest(
                self._image, self._question, response, rationale=rationale, **self._prompting
            )
            for response in self._responses
        ]
        return list(found)

    def preferences(
        self,
        pairs: Sequence[Pair] | None,
        orders: Orders = "both",
        *,
        rationale: bool = False,
    ) -> Plan[list[tuple[int, int, Preference]]]:
        """(i, j, preference of i over j) for each pair; all where none are named."""
        chosen = pairs_of(self._responses, pairs)
        found = yield [
            CompareRequest(
                self._image,
                self._question,
                self._responses[i],
                self._responses[j],
                orders=orders,
                rationale=rationale,
                **self._prompting,
            )
            for i, j in chosen
        ]
        return [(i, j, one) for (i, j), one in zip(chosen, found, strict=True)]

    def ranking(
        self, method: Method, pairs: Sequence[Pair] | None, calibration: Calibration
    ) -> Plan[Ranking]:
        """The order; see `Critic.rank`."""
        if method not in get_args(Method):
            raise InputError(f"method is {method!r}", f"give one of {', '.join(get_args(Method))}")
        if method != "pairwise" and pairs is not None:
            raise InputError("pairs are for the pairwise method", "leave them out")
        started = perf_counter()
        if method == "pointwise":
            ranking = pointwise_ranking((yield from self.scores()))
        elif method == "adaptive":
            ranking = yield from rank_in_rounds(self._responses, self._in_one_order, calibration)
        else:
            found = yield from self.preferences(pairs)
            ranking = pairwise_ranking(len(self._responses), found)
        return summed(ranking, perf_counter() - started)

    def best(self, method: Method, calibration: Calibration) -> Plan[int]:
        """Index of the best response.

        Raises:
            VerdictParseError: a judgement could not be read.
        """
        ranking = yield from self.ranking(method, None, calibration)
        if ranking.best is None:
            raise VerdictParseError(
                f"no best of {len(self._responses)} responses: a judgement could not be read",
                "see rank() for which one, or try another wording",
            )
        return ranking.best

    def _in_one_order(self, pairs: Sequence[Pair]) -> Plan[list[Preference]]:
        found = yield from self.preferences(pairs, "given")
        return [preference for _, _, preference in found]
