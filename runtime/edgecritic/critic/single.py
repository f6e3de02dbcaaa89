"""One judgement, waited for or as it happens."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Unpack, cast

from edgecritic.backends.base import CancelToken
from edgecritic.critic.submitting import Submitting
from edgecritic.errors import InputError
from edgecritic.judging import EngineThread
from edgecritic.judging.chat import ChatJob, ChatUsage
from edgecritic.judging.waiting import last
from edgecritic.judging.writing import ChatOptions, ChatPiece
from edgecritic.pictures import ImageInput
from edgecritic.prompts.conversation import Turn
from edgecritic.requests import Asking, CompareRequest, Orders, ScoreRequest
from edgecritic.verdict import Preference, Verdict


class Single(Submitting):
    """Judges one response or one pair, and writes free text."""

    def score(
        self,
        image: ImageInput,
        question: str,
        response: str,
        *,
        on_text: Callable[[str], None] | None = None,
        cancel: CancelToken | None = None,
        **asking: Unpack[Asking],
    ) -> Verdict:
        """Score one response.

        Args:
            image: a path, encoded bytes, a PIL image, a list of them, or None for text only.
            question: what was asked.
            response: what was answered; empty is legal.
            on_text: is given the rationale's pieces as they are generated.
            cancel: may stop the judgement from another thread; then its status says so.
            **asking: ``reference``, ``rubric``, ``wording``, ``rationale``,
                ``max_rationale_tokens``, ``temperature``, ``seed``; see `Asking`.

        Raises:
            InputError: the question, a picture (`ImageError`) or an option cannot be used, or all
                together is too long (`ContextOverflowError`).
            BackendUnavailableError: the critic is closed, or its engine failed.
        """
        stream = self.score_stream(image, question, response, cancel=cancel, **asking)
        return cast(Verdict, last(stream, on_text))

    def score_stream(
        self,
        image: ImageInput,
        question: str,
        response: str,
        *,
        cancel: CancelToken | None = None,
        **asking: Unpack[Asking],
    ) -> Generator[Verdict | str, None, None]:
        """`score` as it happens: the verdict, the rationale's pieces, the verdict with all of it.

        Without a rationale the verdict comes once. Where the critic's prompts let it reason
        first, the pieces come first and the verdict once behind them.

        Raises:
            InputError: as for `score`; when the first item is asked for.
            BackendUnavailableError: as for `score`.
        """
        request = ScoreRequest(image, question, response, **asking)
        return self._stream(lambda: self._job(request, cancel))

    def compare(
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
        """Say which of two responses is better.

        Args:
            image: as for `score`.
            question: what was asked.
            first: one response.
            second: the other one.
            orders: ``"both"`` shows the responses in both orders, which cancels a bias towards a
                position; ``"given"`` and ``"swapped"`` show them in one.
            on_text: see `score`.
            cancel: see `score`.
            **asking: see `score`.

        Raises:
            InputError: as for `score`.
            BackendUnavailableError: as for `score`.
        """
        stream = self.compare_stream(
            image, question, first, second, orders=orders, cancel=cancel, **asking
        )
        return cast(Preference, last(stream, on_text))

    def compare_stream(
        self,
        image: ImageInput,
        question: str,
        first: str,
        second: str,
        *,
        orders: Orders = "both",
        cancel: CancelToken | None = None,
        **asking: Unpack[Asking],
    ) -> Generator[Preference | str, None, None]:
        """`compare` as it happens; see `score_stream`."""
        request = CompareRequest(image, question, first, second, orders=orders, **asking)
        return self._stream(lambda: self._job(request, cancel))

    def chat_stream(
        self, image: ImageInput, turns: Sequence[Turn], options: ChatOptions
    ) -> Generator[ChatPiece | ChatUsage, None, None]:
        """Answer a conversation as a chat model would; see `Chat.steps`.

        What it says is no judgement: only `score`, `compare` and `rank` read the critic's logits.

        Args:
            image: the pictures that the turns show.
            turns: the conversation.
            options: how to answer.

        Raises:
            InputError: the conversation cannot be answered, or the critic is a remote one; when
                the first item is asked for.
            QueueFullError: too many requests wait.
            BackendUnavailableError: as for `score`.
        """
        return self._stream(lambda: self._chat_job(image, turns, options))

    def _chat_job(self, image: ImageInput, turns: Sequence[Turn], options: ChatOptions) -> ChatJob:
        if not isinstance(self._judging, EngineThread):
            raise InputError(
                f"{self.profile.name} runs elsewhere", "ask its endpoint itself for free text"
            )
        return ChatJob(image=image, turns=turns, options=options, cancel=options.cancel)
