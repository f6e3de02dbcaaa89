"""``/v1/chat/completions``: the critic as a chat model, for whoever speaks OpenAI's protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgecritic.server.answering import EventStream, answered
from edgecritic.server.catalogue import ServedModel
from edgecritic.server.chat_reply import Reply
from edgecritic.server.chat_request import ChatRequest, read_chat
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
        """Answer a conversation."""
        limits = self._service.options.limits
        body = await read_json(request, chatting.CHAT, limits)
        asked = await read_chat(body, self._pictures, limits)
        model = self._service.alias(body.get("model"))
        reply = Reply(model.id, asked.tool, asked.job.listed is not None)
        if asked.stream:
            following = self._service.follow(model, asked.job)
            return EventStream(_chunks(following, asked, reply), following.leave)
        return await answered(request, self._whole(model, asked, reply))

    async def _whole(self, model: ServedModel, asked: ChatRequest, reply: Reply) -> Response:
        return JSONResponse(reply.whole(await self._service.result(model, asked.job)))


async def _chunks(
    following: Following, asked: ChatRequest, reply: Reply
) -> AsyncGenerator[bytes, None]:
    for index in range(asked.job.n):
        yield reply.first(index)
    async for event in following.events():
        if event.name == "text":
            said = event.data
            if said["text"] or said["tokens"]:
                yield reply.piece(said["answer"], said["text"], said["tokens"])
            if said["ended"]:
                yield reply.last(said["answer"], said["ended"])
        elif event.name == "error":
            yield f"data: {json.dumps(event.data)}\n\n".encode()
            return
        elif event.name == "result":
            yield reply.closing(event.data["usage"] if asked.usage else None)
