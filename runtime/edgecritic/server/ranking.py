"""``/v1/score`` as vLLM has it and ``/v1/rerank`` as Jina has it: responses to one question.

Both tell a score as a share of the critic's own scale, in [0, 1]; null where no verdict could be
read, or the text could not be judged.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgecritic.server.answering import answered
from edgecritic.server.catalogue import ServedModel
from edgecritic.server.failures import bad_request
from edgecritic.server.jobs import Batch, Question, Reason, Score
from edgecritic.server.kits.base import share
from edgecritic.server.pictures import Pictures
from edgecritic.server.requests import read_json
from edgecritic.server.schema import ranking
from edgecritic.server.service import Service

Body = Mapping[str, Any]


class RankingApi:
    """Answers requests for scores of many texts.

    Args:
        service: has them judged.
        pictures: reads pictures.
    """

    def __init__(self, service: Service, pictures: Pictures) -> None:
        self._service = service
        self._pictures = pictures

    async def score(self, request: Request) -> Response:
        """Score pairs of texts: one question with many responses, or as many of both."""
        body = await read_json(request, ranking.SCORE, self._service)
        firsts, seconds = _list(body["text_1"]), _list(body["text_2"])
        if len(firsts) not in (1, len(seconds)):
            raise bad_request(
                f"text_1 has {len(firsts)} texts and text_2 has {len(seconds)}",
                "give one text_1, or as many as there are of text_2",
            )
        model, images = await self._common(body)
        questions = firsts * len(seconds) if len(firsts) == 1 else firsts
        batch = _batch(questions, seconds, images)
        return await answered(request, self._scored(model, batch))

    async def _scored(self, model: ServedModel, batch: Batch) -> Response:
        results = (await self._service.result(model, batch))["results"]
        data = [
            {"index": index, "object": "score", "score": _share(result)}
            for index, result in enumerate(results)
        ]
        head = {"id": f"score-{secrets.token_hex(12)}", "object": "list", "model": model.id}
        return JSONResponse(head | {"created": int(time.time()), "data": data} | _usage(results))

    async def rerank(self, request: Request) -> Response:
        """Sort documents by how good a response to the query each is."""
        body = await read_json(request, ranking.RERANK, self._service)
        model, images = await self._common(body)
        texts = [one if isinstance(one, str) else one["text"] for one in body["documents"]]
        batch = _batch([body["query"]] * len(texts), texts, images)
        return await answered(request, self._reranked(model, batch, texts, body))

    async def _reranked(
        self, model: ServedModel, batch: Batch, texts: Sequence[str], body: Body
    ) -> Response:
        results = (await self._service.result(model, batch))["results"]
        scores = [_share(result) for result in results]
        # What could not be judged comes last; equal ones keep their order.
        worth = [-1.0 if score is None else score for score in scores]
        order = sorted(range(len(texts)), key=lambda index: -worth[index])
        found = [
            {"index": index, "relevance_score": scores[index]}
            | ({"document": {"text": texts[index]}} if body.get("return_documents", True) else {})
            for index in order
        ]
        head = {"id": f"rerank-{secrets.token_hex(12)}", "model": model.id}
        top = found[: int(body.get("top_n") or len(found))]
        return JSONResponse(head | {"results": top} | _usage(results))

    async def _common(self, body: Body) -> tuple[ServedModel, tuple[bytes, ...]]:
        given = body.get("image")
        urls = [given] if isinstance(given, str) else given or []
        return self._service.alias(body.get("model")), await self._pictures.read(urls)


def _list(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _batch(questions: Sequence[str], responses: Sequence[str], images: tuple[bytes, ...]) -> Batch:
    reason = Reason(wanted=False)
    return Batch(
        tuple(
            Score(Question(question, images), response, reason)
            for question, response in zip(questions, responses, strict=True)
        )
    )


def _share(result: Body) -> float | None:
    return None if "error" in result else share(result)


def _usage(results: Sequence[Body]) -> dict[str, Any]:
    total = sum(result["usage"]["prompt_tokens"] for result in results if "usage" in result)
    return {"usage": {"prompt_tokens": total, "total_tokens": total}}
