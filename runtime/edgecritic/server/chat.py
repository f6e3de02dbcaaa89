"""``/v1/chat/completions``: the critic as a chat model, for whoever speaks OpenAI's protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgecritic.prompts.conversation import Turn
from edgecritic.server.answering import EventStream, answered
from edgecritic.server.catalogue import ServedModel
from edgecritic.server.chat_reply import Reply, completion
from edgecritic.server.chat_request import REFUSED, ChatRequest, read_chat, sampled
from edgecritic.server.failures import bad_request
from edgecritic.server.kit_answer import as_chat, kit_of, with_described_form
from edgecritic.server.kits import Recognised
from edgecritic.server.pictures import Pictures
from edgecritic.server.requests import read_json
from edgecritic.server.schema import chatting
from edgecritic.server.service import Following, Service


class ChatApi:
    """Answers chats.

    Args:
        service: has them answered.
        pictures: reads pictures.
    """

    def __init__(self, service: Service, pictures: Pictures) -> None:
        self._service = service
        self._pictures = pictures

    async def chat(self, request: Request) -> Response:
        """Answer a conversation; the prompt of a known kit by a verdict."""
        limits = self._service.options.limits
        body = await read_json(request, chatting.CHAT, self._service)
        asked = await read_chat(body, self._pictures, limits)
        model = self._service.alias(body.get("model"))
        kit = None
        if self._service.options.kits:
            kit = kit_of(asked.job, asked.tool)
            asked = replace(asked, job=with_described_form(asked.job))
        if kit is not None:
            self._service.metrics.count("recognised_total", kit=kit.kit)
        reply = Reply(model.id, asked.tool, asked.job.listed is not None)
        job = asked.job if kit is None else kit.job
        if asked.stream and job is not None:
            following = self._service.follow(model, job)
            return EventStream(_chunks(following, asked, kit, reply), following.leave)
        if asked.stream and kit is not None:
            said = _whole_chunks(as_chat(kit.write({}), asked.job, {}), asked, reply)
            return EventStream(said, lambda: None)
        return await answered(request, self._whole(model, asked, kit, reply))

    async def complete(self, request: Request) -> Response:
        """Answer a prompt; it is asked as a conversation of one message, and never streamed."""
        limits = self._service.options.limits
        body = await read_json(request, chatting.COMPLETION, self._service)
        if body.get("stream"):
            raise bad_request("completions are not streamed", "use /v1/chat/completions")
        for name in (*REFUSED, "logprobs", "best_of"):
            if body.get(name):
                raise bad_request(f"{name} is not supported", "leave it out", "unsupported")
        prompt = body["prompt"] if isinstance(body["prompt"], str) else body["prompt"][0]
        job = replace(sampled(body, limits), turns=(Turn("user", (prompt,)),))
        model = self._service.alias(body.get("model"))

        async def work() -> Response:
            return JSONResponse(completion(model.id, await self._service.result(model, job)))

        return await answered(request, work())

    async def _whole(
        self, model: ServedModel, asked: ChatRequest, kit: Recognised | None, reply: Reply
    ) -> Response:
        if kit is None:
            return JSONResponse(reply.whole(await self._service.result(model, asked.job)))
        found = {} if kit.job is None else await self._service.result(model, kit.job)
        written = as_chat(kit.write(found), asked.job, found.get("usage", {}))
        return JSONResponse(reply.whole(written))


async def _chunks(
    following: Following, asked: ChatRequest, kit: Recognised | None, reply: Reply
) -> AsyncGenerator[bytes, None]:
    if kit is None:
        for index in range(asked.job.n):
            yield reply.first(index)
    async for event in following.events():
        if event.name == "error":
            yield f"data: {json.dumps(event.data)}\n\n".encode()
        elif kit is not None and event.name == "result":
            result = as_chat(kit.write(event.data), asked.job, event.data.get("usage", {}))
            async for chunk in _whole_chunks(result, asked, reply):
                yield chunk
        elif kit is None and event.name == "text":
            said = event.data
            if said["text"] or said["tokens"]:
                yield reply.piece(said["answer"], said["text"], said["tokens"])
            if said["ended"]:
                yield reply.last(said["answer"], said["ended"])
        elif event.name == "result":
            yield reply.closing(event.data["usage"] if asked.usage else None)


async def _whole_chunks(
    result: dict[str, Any], asked: ChatRequest, reply: Reply
) -> AsyncGenerator[bytes, None]:
    """A stream of an answer that is there already."""
    for index, answer in enumerate(result["answers"]):
        yield reply.first(index)
        if answer["reasoning"]:
            yield reply.piece(index, "", [], answer["reasoning"])
        yield reply.piece(index, answer["text"], answer["tokens"])
        yield reply.last(index, answer["ended"])
    yield reply.closing(result["usage"] if asked.usage else None)
