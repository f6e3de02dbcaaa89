"""Several judgements about one picture; what their prompts share is decoded once."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Literal, TypeAlias, Unpack, get_args

from edgecritic.backends.base import CancelToken
from edgecritic.critic.single import Single
from edgecritic.errors import InputError, VerdictParseError
from edgecritic.judging.results import pairwise_ranking, pointwise_ranking, summed
from edgecritic.judging.rounds import rank_in_rounds
from edgecritic.judging.waiting import results
from edgecritic.pictures import ImageInput
from edgecritic.requests import (
    CompareRequest,
    Orders,
    Prompting,
    ScoreRequest,
    Sharing,
    listed,
    pairs_of,
)
from edgecritic.verdict import Preference, Ranking, Verdict

Method: TypeAlias = Literal["pairwise", "adaptive", "pointwise"]


class Several(Single):
    """Scores, compares and ranks responses."""

    def score_many(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        rationale: bool = False,
        cancel: CancelToken | None = None,
        **prompting: Unpack[Prompting],
    ) -> list[Verdict]:
        """Score several responses, each by itself; what their prompts share is decoded once.

        Args:
            image: as for `score`.
            question: what was asked.
            responses: what was answered.
            rationale: also say why; the texts are generated together.
            cancel: may stop all of it.
            **prompting: ``reference``, ``rubric``, ``wording``; see `Prompting`.

        Returns:
            A verdict for each response.

        Raises:
            InputError: as for `score`.
            QueueFullError: too many requests wait.
            BackendUnavailableError: as for `score`.
        """
        requests = [
            ScoreRequest(image, question, response, rationale=rationale, **prompting)
            for response in listed(responses, 1)
        ]
        return results(self.submit_many(requests, cancel=cancel))

    def compare_all(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        pairs: Sequence[tuple[int, int]] | None = None,
        orders: Orders = "both",
        rationale: bool = False,
        cancel: CancelToken | None = None,
        **prompting: Unpack[Prompting],
    ) -> list[tuple[int, int, Preference]]:
        """Compare responses with each other; what their prompts share is decoded once.

        Args:
            image: as for `score`.
            question: what was asked.
            responses: at least two.
            pairs: indices of the responses to compare; every pair when left out, which makes
                K(K-1) ordered ones of K responses.
            orders: as for `compare`.
            rationale: also say why; the texts are generated together.
            cancel: may stop all of it.
            **prompting: as for `score_many`.

        Returns:
            (i, j, preference of i over j) for each pair.

        Raises:
            InputError: fewer than two responses, a pair that is none, or as for `score`.
            QueueFullError: too many requests wait.
            BackendUnavailableError: as for `score`.
        """
        chosen = pairs_of(listed(responses, 2), pairs)
        requests = [
            CompareRequest(
                image,
                question,
                responses[i],
                responses[j],
                orders=orders,
                rationale=rationale,
                **prompting,
            )
            for i, j in chosen
        ]
        found = results(self.submit_many(requests, cancel=cancel))
        return [(i, j, one) for (i, j), one in zip(chosen, found, strict=True)]

    def rank(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        method: Method = "pairwise",
        pairs: Sequence[tuple[int, int]] | None = None,
        **sharing: Unpack[Sharing],
    ) -> Ranking:
        """Order several responses, best first; without rationales.

        Args:
            image: as for `score`.
            question: what was asked.
            responses: at least two.
            method: ``"pairwise"`` compares all of them in both orders; ``"adaptive"`` compares
                only those pairs that still can change the order, mostly under half of them;
                ``"pointwise"`` scores each. All decode what the prompts share once.
            pairs: indices of the responses to compare with each other, each pair in both orders;
                every pair when left out. A response that is in none has the reward 0.
            **sharing: ``reference``, ``rubric``, ``wording``, ``cancel``; see `Sharing`.

        Raises:
            InputError: fewer than two responses, a pair that is none, or as for `score`.
            BackendUnavailableError: as for `score`.
        """
        if method not in get_args(Method):
            raise InputError(f"method is {method!r}", f"give one of {', '.join(get_args(Method))}")
        if method != "pairwise" and pairs is not None:
            raise InputError("pairs are for the pairwise method", "leave them out")
        responses = listed(responses, 2)
        started = perf_counter()

        def in_one_order(pairs: Sequence[tuple[int, int]]) -> list[Preference]:
            found = self.compare_all(
                image, question, responses, pairs=pairs, orders="given", **sharing
            )
            return [preference for _, _, preference in found]

        if method == "pointwise":
            ranking = pointwise_ranking(self.score_many(image, question, responses, **sharing))
        elif method == "adaptive":
            ranking = rank_in_rounds(responses, in_one_order, self.profile.calibration)
        else:
            found = self.compare_all(image, question, responses, pairs=pairs, **sharing)
            ranking = pairwise_ranking(len(responses), found)
        return summed(ranking, perf_counter() - started)

    def best_of_n(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        method: Method = "pairwise",
        **sharing: Unpack[Sharing],
    ) -> int:
        """Index of the best response, as `rank` finds it.

        Raises:
            InputError: as for `rank`.
            VerdictParseError: a judgement could not be read; an index cannot say so.
            BackendUnavailableError: as for `score`.
        """
        ranking = self.rank(image, question, responses, method=method, **sharing)
        if ranking.best is None:
            raise VerdictParseError(
                f"no best of {len(responses)} responses: a judgement could not be read",
                "see rank() for which one, or try another wording",
            )
        return ranking.best
