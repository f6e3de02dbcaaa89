"""``/v1/judge/*``: judgements in the runtime's own terms."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgecritic.errors import CriticError
from edgecritic.server.answering import EventStream, answered, event
from edgecritic.server.catalogue import ServedModel
from edgecritic.server.failures import Failure, bad_request, failure_of
from edgecritic.server.jobs import Batch, Compare, Job, Question, Rank, Reason, Refusal, Score
from edgecritic.server.pictures import Pictures
from edgecritic.server.requests import read_json
from edgecritic.server.schema import judging
from edgecritic.server.schema.check import Schema
from edgecritic.server.service import Following, Service
from edgecritic.task import Rubric

Body = Mapping[str, Any]


class NativeApi:
    """Answers requests for judgements.

    Args:
        service: has the jobs done.
        pictures: reads pictures.
    """

    def __init__(self, service: Service, pictures: Pictures) -> None:
        self._service = service
        self._pictures = pictures
        self._makers: Mapping[str, Callable[[Body, Question], Job]] = {
            "score": _score,
            "compare": _compare,
            "rank": _rank,
        }

    async def score(self, request: Request) -> Response:
        """Score one response."""
        return await self._one(request, "score", judging.SCORE)

    async def compare(self, request: Request) -> Response:
        """Prefer one of two responses."""
        return await self._one(request, "compare", judging.COMPARE)

    async def rank(self, request: Request) -> Response:
        """Put several responses into order."""
        return await self._one(request, "rank", judging.RANK)

    async def batch(self, request: Request) -> Response:
        """Several of the above; one that cannot be judged does not harm the others."""
        body = await self._read(request, judging.BATCH)
        members = body["requests"]
        model = self._service.model(body.get("model") or _common_model(members))
        jobs = [await self._member(member) for member in members]
        return await self._result(request, model, Batch(tuple(jobs)))

    async def _member(self, body: Body) -> Job | Refusal:
        try:
            return await self._job(body, body["kind"])
        except Failure as failure:
            return Refusal(failure.body)

    async def _one(self, request: Request, kind: str, schema: Schema) -> Response:
        body = await self._read(request, schema)
        model = self._service.model(body.get("model"))
        job = await self._job(body, kind)
        if body.get("stream"):
            following = self._service.follow(model, job)
            return EventStream(_encoded(following), following.leave)
        return await self._result(request, model, job)

    async def _read(self, request: Request, schema: Schema) -> dict[str, Any]:
        return await read_json(request, schema, self._service)

    async def _job(self, body: Body, kind: str) -> Job:
        given = body.get("image")
        listed = [given] if isinstance(given, str) else given or []
        try:
            question = Question(
                text=body["question"],
                images=await self._pictures.read(listed),
                reference=body.get("reference"),
                rubric=_rubric(body.get("rubric")),
                wording=int(body.get("wording", 0)),
            )
            return self._makers[kind](body, question)
        except CriticError as error:
            raise failure_of(error) from None

    async def _result(self, request: Request, model: ServedModel, job: Job) -> Response:
        async def work() -> Response:
            result = await self._service.result(model, job)
            # A batch's usage is there for the metrics; its results tell their own.
            return JSONResponse({"results": result["results"]} if "results" in result else result)

        return await answered(request, work())


async def _encoded(following: Following) -> AsyncGenerator[bytes, None]:
    async for told in following.events():
        yield event(told.name, told.data)


def _common_model(members: list[Body]) -> str | None:
    named = {member.get("model") for member in members}
    if len(named) > 1:
        raise bad_request("the batch names several models", "send one batch for each of them")
    return named.pop()


def _rubric(given: str | Body | None) -> Rubric | None:
    if given is None:
        return None
    if isinstance(given, str):
        return Rubric.parse(given)
    levels = {"low": int(given.get("low", 1)), "high": int(given.get("high", 10))}
    return Rubric.from_dict({**given, **levels})


def _reason(body: Body) -> Reason:
    return Reason(
        wanted=body.get("rationale", True),
        max_tokens=int(body.get("max_rationale_tokens", 96)),
        temperature=float(body.get("temperature", 0)),
        seed=int(body.get("seed", 0)),
    )


def _score(body: Body, question: Question) -> Job:
    return Score(question, body["response"], _reason(body))


def _compare(body: Body, question: Question) -> Job:
    orders = body.get("orders", "both")
    return Compare(question, body["first"], body["second"], orders, _reason(body))


def _rank(body: Body, question: Question) -> Job:
    return Rank(question, tuple(body["responses"]), body.get("method", "pairwise"))
