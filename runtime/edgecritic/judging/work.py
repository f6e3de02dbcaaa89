"""What an engine on this machine does: judgements, and answers to conversations."""

from __future__ import annotations

from typing import Any

from edgecritic.backends.base import Backend, CancelToken
from edgecritic.judging.chat import Chat, ChatJob
from edgecritic.judging.demands import Steps
from edgecritic.judging.jobs import Job, JudgementJob
from edgecritic.judging.judge import Judge
from edgecritic.pictures import PictureEncoder
from edgecritic.profile import CriticProfile


class Work:
    """A `Maker` of both.

    Args:
        backend: the engine.
        profile: the critic's.
        pictures: encodes what it is to look at.
    """

    def __init__(self, backend: Backend, profile: CriticProfile, pictures: PictureEncoder) -> None:
        self._judge = Judge(backend, profile, pictures)
        self._chat = Chat(backend, profile.dialect, pictures)

    def steps(self, job: Job, cancel: CancelToken) -> Steps[Any]:
        """See `Maker.steps`."""
        if isinstance(job, ChatJob):
            return self._chat.steps(job, cancel)
        assert isinstance(job, JudgementJob)  # noqa: S101 - there are no others
        return self._judge.steps(job, cancel)

    def unjudged(self, job: Job) -> Any:
        """See `Maker.unjudged`."""
        if isinstance(job, ChatJob):
            return self._chat.unjudged(job)
        assert isinstance(job, JudgementJob)  # noqa: S101 - there are no others
        return self._judge.unjudged(job)
