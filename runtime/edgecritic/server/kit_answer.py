"""A kit's verdict as the answer of a chat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgecritic.prompts.conversation import Turn
from edgecritic.server.chat_job import ChatJob
from edgecritic.server.kits import Asked, Recognised, Written, recognise, schema_in


def kit_of(job: ChatJob, tool: str | None) -> Recognised | None:
    """The kit whose prompt a chat is; None for any other chat."""
    if tool is not None or isinstance(job.form, dict) or job.continued:
        return None
    if any(turn.role == "assistant" for turn in job.turns):
        return None
    return recognise(
        Asked(
            system=_said(job.turns, "system"),
            user=_said(job.turns, "user"),
            images=job.images,
            max_tokens=job.max_tokens,
            json=job.form is True,
        )
    )


def with_described_form(job: ChatJob) -> ChatJob:
    """The chat with the schema that its prompt describes, where the request has none."""
    if isinstance(job.form, dict) or job.continued:
        return job
    form = schema_in(_said(job.turns, "system") + "\n" + _said(job.turns, "user"))
    return job if form is None else replace(job, form=form)


def _said(turns: Sequence[Turn], role: str) -> str:
    return "\n".join(
        "\n".join(part for part in turn.parts if isinstance(part, str))
        for turn in turns
        if turn.role == role
    )


def as_chat(written: Written, job: ChatJob, usage: dict[str, int]) -> dict[str, Any]:
    """The result of a `ChatJob` that says what the kit's verdict was written to."""
    answer = {
        "text": written.text,
        "tokens": [] if job.listed is None else written.tokens(job.listed),
        "ended": "end",
        "reasoning": written.reasoning,
    }
    costs = {
        "prompt_tokens": usage.get("prompt_tokens", 0),
        "written_tokens": usage.get("rationale_tokens", 0),
    }
    return {"answers": [answer] * job.n, "usage": costs}
