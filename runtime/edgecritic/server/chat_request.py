"""From the body of a chat request to the job that answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from edgecritic.errors import CriticError, shown
from edgecritic.judging.choosing import Taste
from edgecritic.judging.json_grammar import json_grammar
from edgecritic.prompts import ImageSlot
from edgecritic.prompts.conversation import Role, Turn
from edgecritic.server.chat_job import ChatJob
from edgecritic.server.failures import bad_request, failure_of
from edgecritic.server.options import Limits
from edgecritic.server.pictures import Pictures

Body = Mapping[str, Any]
# Where a client states no limit. What keeps to a form goes on until its form ends: small critics
# write one text for as long as they are let.
_DEFAULT_TOKENS = 512
_DEFAULT_FORMED_TOKENS = 256
_MOST_LISTED = 1 << 19
_SEEDS = 2**63
# They would change the answer, so they are not ignored.
REFUSED = (
    "functions",
    "suffix",
    "echo",
    "function_call",
    "logit_bias",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "grammar",
    "audio",
)
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "user",
    "function": "user",
}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat request, understood.

    Attributes:
        job: what answers it.
        tool: name of the tool that the answer has to call, or None.
        stream: answer by events.
        usage: tell the usage at the end of a stream.
    """

    job: ChatJob
    tool: str | None
    stream: bool
    usage: bool


async def read_chat(body: Body, pictures: Pictures, limits: Limits) -> ChatRequest:
    """Understand a body that its schema allows.

    Raises:
        Failure: it asks for what there is not, or a picture cannot be used.
    """
    for name in REFUSED:
        if body.get(name):
            raise bad_request(f"{name} is not supported", "leave it out", "unsupported")
    turns, urls = _turns(body["messages"])
    tool, form = _form(body)
    _check_form(form)
    listed = body.get("top_logprobs")
    if listed is not None and not body.get("logprobs"):
        raise bad_request("top_logprobs without logprobs", "set logprobs to true")
    job = replace(
        sampled(body, limits),
        turns=turns,
        listed=int(listed or 0) if body.get("logprobs") else None,
        form=form,
        continued=_continued(body),
    )
    _check_listed(job)
    return ChatRequest(
        replace(job, images=await pictures.read(urls)),
        tool,
        bool(body.get("stream")),
        bool((body.get("stream_options") or {}).get("include_usage")),
    )


def sampled(body: Body, limits: Limits) -> ChatJob:
    """A job without a conversation, with what chats and completions have in common."""
    stop = body.get("stop")
    try:
        taste = Taste(
            temperature=float(_given(body, "temperature", 0.0)),
            top_p=float(_given(body, "top_p", 1.0)) or 1e-6,  # 0 means the likeliest token
            presence_penalty=float(_given(body, "presence_penalty", 0.0)),
            frequency_penalty=float(_given(body, "frequency_penalty", 0.0)),
            seed=int(_given(body, "seed", 0)) % _SEEDS,
        )
    except CriticError as error:
        raise failure_of(error) from None
    return ChatJob(
        turns=(),
        max_tokens=_max_tokens(body, limits),
        taste=taste,
        stops=tuple(text for text in ([stop] if isinstance(stop, str) else stop or []) if text),
        n=int(_given(body, "n", 1)),
    )


def _given(body: Body, key: str, default: Any) -> Any:
    value = body.get(key)
    return default if value is None else value


def _max_tokens(body: Body, limits: Limits) -> int:
    formed = (body.get("response_format") or {}).get("type", "text") != "text"
    default = _DEFAULT_FORMED_TOKENS if formed or _forced_tool(body) else _DEFAULT_TOKENS
    asked = _given(body, "max_completion_tokens", _given(body, "max_tokens", default))
    return min(int(asked), limits.tokens)


def _check_listed(job: ChatJob) -> None:
    """See that a list of log-probabilities stays one that can be sent."""
    if job.listed is not None and job.n * job.max_tokens * (job.listed + 1) > _MOST_LISTED:
        raise bad_request(
            f"{job.n} answers of {job.max_tokens} tokens with {job.listed} alternatives each are "
            "too many",
            "ask for fewer answers, tokens or top_logprobs",
        )


def _continued(body: Body) -> bool:
    """The way of vLLM to have the last message continued."""
    if not body.get("continue_final_message"):
        return False
    if body.get("add_generation_prompt"):
        raise bad_request(
            "add_generation_prompt and continue_final_message contradict each other",
            "set add_generation_prompt to false",
        )
    return True


def _turns(messages: list[Body]) -> tuple[tuple[Turn, ...], list[str]]:
    """The conversation, and the URLs of its pictures in their order."""
    urls: list[str] = []
    turns = []
    for number, message in enumerate(messages):
        content = message.get("content")
        parts: list[str | ImageSlot] = []
        for part in (
            [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        ):
            parts.append(_part(part, urls, f"message {number + 1}"))
        turns.append(Turn(_ROLES[message["role"]], tuple(parts)))
    return tuple(turns), urls


def _part(part: Body, urls: list[str], where: str) -> str | ImageSlot:
    if not part["type"].endswith(("image_url", "image")):
        if not isinstance(part.get("text"), str):
            raise bad_request(f"{where} has a part of type {part['type']} without a text")
        return cast(str, part["text"])
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, Mapping) else given
    if not isinstance(url, str):
        raise bad_request(f"{where} has a picture without an image_url")
    urls.append(url)
    return ImageSlot(len(urls) - 1)


def _form(body: Body) -> tuple[str | None, Any]:
    """The tool that must be called, and the form of the answer."""
    tool = _forced_tool(body)
    wanted = body.get("response_format") or {}
    kind = wanted.get("type", "text")
    if tool is not None:
        if kind != "text":
            raise bad_request("a forced tool and a response_format exclude each other")
        return tool["name"], tool.get("parameters") or {"type": "object"}
    if kind == "text":
        return None, None
    if kind == "json_object":
        return None, True
    described = wanted.get("json_schema")
    if described is None:
        raise bad_request("response_format is json_schema without a json_schema")
    return None, described["schema"]


def _check_form(form: Any) -> None:
    """See that it can be followed, before anybody waits for it."""
    try:
        if form not in (None, True):
            json_grammar(form)
    except CriticError as error:
        raise failure_of(error) from None


def _forced_tool(body: Body) -> Body | None:
    choice, tools = body.get("tool_choice"), body.get("tools") or []
    if choice in (None, "none", "auto"):
        return None  # whether to call a tool is the model's choice, and ours never does
    functions = [tool.get("function") for tool in tools]
    known = {
        f["name"]: f for f in functions if isinstance(f, dict) and isinstance(f.get("name"), str)
    }
    if choice == "required":
        if len(known) == 1:
            return next(iter(known.values()))
        raise bad_request(
            f"a tool must be called, and there are {len(known)}",
            'name it: {"type": "function", "function": {"name": "..."}}',
            "unsupported",
        )
    name = (choice.get("function") or {}).get("name")
    if name not in known:
        raise bad_request(f"tool_choice names {shown(name)}, which is not among the tools")
    return known[name]
