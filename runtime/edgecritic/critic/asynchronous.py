"""The twins for asyncio: the same names behind an ``a``, the same arguments, the same results.

Cancelling the task that awaits one stops its judgements; so does leaving one of the streams. They
say nothing anew: each asks for what the method without the ``a`` asks for, and waits otherwise.

Their signatures are written out, for those who read source and run nothing: the pages of the docs
and the completion of notebooks know no others. A test holds each equal to the one that it repeats.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import closing
from typing import Any, TypeVar, Unpack, cast

from edgecritic.backends.base import CancelToken
from edgecritic.critic.several import Several
from edgecritic.judging import Job
from edgecritic.judging.chat import ChatUsage
from edgecritic.judging.plans import Method, Panel, Plan
from edgecritic.judging.waiting import gathered, heard, last_heard
from edgecritic.judging.writing import ChatOptions, ChatPiece
from edgecritic.pictures import ImageInput
from edgecritic.prompts.conversation import Turn
from edgecritic.requests import Asking, CompareRequest, Orders, Prompting, ScoreRequest
from edgecritic.verdict import Preference, Ranking, Verdict

Made = TypeVar("Made")


class Asynchronous(Several):
    """Judges in an event loop, which it never holds up."""

    async def ascore(
        self,
        image: ImageInput,
        question: str,
        response: str,
        *,
        on_text: Callable[[str], None] | None = None,
        cancel: CancelToken | None = None,
        **asking: Unpack[Asking],
    ) -> Verdict:
        """`score` for asyncio; `on_text` is called in the event loop."""
        stream = self.ascore_stream(image, question, response, cancel=cancel, **asking)
        return cast(Verdict, await last_heard(stream, on_text))

    def ascore_stream(
        self,
        image: ImageInput,
        question: str,
        response: str,
        *,
        cancel: CancelToken | None = None,
        **asking: Unpack[Asking],
    ) -> AsyncGenerator[Verdict | str, None]:
        """`score_stream` for asyncio."""
        request = ScoreRequest(image, question, response, **asking)
        return self._heard(lambda: self._job(request, cancel))

    async def acompare(
        self,
        image: ImageInput,
        question: str,
        first: str,
        second: str,
        *,
        orders: Orders = "both",
        on_text: Callable[[str], None] | None = None,
        cancel: CancelToken | None = None,
        **asking: Unpack[Asking],
    ) -> Preference:
        """`compare` for asyncio; `on_text` is called in the event loop."""
        stream = self.acompare_stream(
            image, question, first, second, orders=orders, cancel=cancel, **asking
        )
        return cast(Preference, await last_heard(stream, on_text))

    def acompare_stream(
        self,
        image: ImageInput,
        question: str,
        first: str,
        second: str,
        *,
        orders: Orders = "both",
        cancel: CancelToken | None = None,
        **asking: Unpack[Asking],
    ) -> AsyncGenerator[Preference | str, None]:
        """`compare_stream` for asyncio."""
        request = CompareRequest(image, question, first, second, orders=orders, **asking)
        return self._heard(lambda: self._job(request, cancel))

    async def ascore_many(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        rationale: bool = False,
        cancel: CancelToken | None = None,
        **prompting: Unpack[Prompting],
    ) -> list[Verdict]:
        """`score_many` for asyncio."""
        plan = Panel(image, question, responses, 1, prompting).scores(rationale=rationale)
        return await self._awaited(plan, cancel)

    async def acompare_all(
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
        """`compare_all` for asyncio."""
        panel = Panel(image, question, responses, 2, prompting)
        return await self._awaited(panel.preferences(pairs, orders, rationale=rationale), cancel)

    async def arank(
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
        """`rank` for asyncio."""
        panel = Panel(image, question, responses, 2, prompting)
        return await self._awaited(panel.ranking(method, pairs, self.profile.calibration), cancel)

    async def abest_of_n(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        method: Method = "pairwise",
        cancel: CancelToken | None = None,
        **prompting: Unpack[Prompting],
    ) -> int:
        """`best_of_n` for asyncio."""
        panel = Panel(image, question, responses, 2, prompting)
        return await self._awaited(panel.best(method, self.profile.calibration), cancel)

    def achat_stream(
        self, image: ImageInput, turns: Sequence[Turn], options: ChatOptions
    ) -> AsyncGenerator[ChatPiece | ChatUsage, None]:
        """`chat_stream` for asyncio."""
        return self._heard(lambda: self._chat_job(image, turns, options))

    async def _awaited(self, plan: Plan[Made], cancel: CancelToken | None) -> Made:
        """`_carried_out`, without holding up the event loop."""
        answers: Any = None
        with closing(plan):
            while True:
                try:
                    requests = plan.send(answers)
                except StopIteration as end:
                    return cast(Made, end.value)
                answers = await gathered(self.submit_many(requests, cancel=cancel))

    def _heard(self, make: Callable[[], Job]) -> AsyncGenerator[Any, None]:
        """`_stream`, without holding up the event loop."""
        return heard(lambda listen: self._told(make, listen))
