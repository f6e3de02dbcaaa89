"""Several judgements about one picture; what their prompts share is decoded once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any, TypeVar, Unpack, cast

from edgecritic.backends.base import CancelToken
from edgecritic.critic.single import Single
from edgecritic.judging.plans import Method, Panel, Plan
from edgecritic.judging.waiting import results
from edgecritic.pictures import ImageInput
from edgecritic.requests import Orders, Prompting
from edgecritic.verdict import Preference, Ranking, Verdict

Made = TypeVar("Made")


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
        plan = Panel(image, question, responses, 1, prompting).scores(rationale=rationale)
        return self._carried_out(plan, cancel)

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
        panel = Panel(image, question, responses, 2, prompting)
        return self._carried_out(panel.preferences(pairs, orders, rationale=rationale), cancel)

    def rank(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        method: Method = "pairwise",
        pairs: Sequence[tuple[int, int]] | None = None,
        cancel: CancelToken | None = None,
        **prompting: Unpack[Prompting],
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
            cancel: may stop all of it.
            **prompting: as for `score_many`.

        Raises:
            InputError: fewer than two responses, a pair that is none, or as for `score`.
            BackendUnavailableError: as for `score`.
        """
        panel = Panel(image, question, responses, 2, prompting)
        return self._carried_out(panel.ranking(method, pairs, self.profile.calibration), cancel)

    def best_of_n(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        method: Method = "pairwise",
        cancel: CancelToken | None = None,
        **prompting: Unpack[Prompting],
    ) -> int:
        """Index of the best response, as `rank` finds it.

        Raises:
            InputError: as for `rank`.
            VerdictParseError: a judgement could not be read; an index cannot say so.
            BackendUnavailableError: as for `score`.
        """
        panel = Panel(image, question, responses, 2, prompting)
        return self._carried_out(panel.best(method, self.profile.calibration), cancel)

    def _carried_out(self, plan: Plan[Made], cancel: CancelToken | None) -> Made:
        """What a plan makes of the judgements that it asks for."""
        answers: Any = None
        with closing(plan):
            while True:
                try:
                    requests = plan.send(answers)
                except StopIteration as end:
                    return cast(Made, end.value)
                answers = results(self.submit_many(requests, cancel=cancel))
