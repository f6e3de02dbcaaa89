"""Judgements from request to result: a queue, an engine's thread, and what it decodes together."""

from edgecritic.judging.base import Judging, QueueState
from edgecritic.judging.engine_thread import EngineThread
from edgecritic.judging.jobs import Job, JudgementJob
from edgecritic.judging.work import Work

__all__ = ["EngineThread", "Job", "JudgementJob", "Judging", "QueueState", "Work"]
