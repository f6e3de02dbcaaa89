"""The ASGI application: every path, and what stands in front of them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgecritic.server.catalogue import ServedModel
from edgecritic.server.chat import ChatApi
from edgecritic.server.counting import Counting
from edgecritic.server.failures import UNEXPECTED, Failure
from edgecritic.server.fetching import Fetcher
from edgecritic.server.native import NativeApi
from edgecritic.server.options import ServerOptions
from edgecritic.server.page import Page
from edgecritic.server.paths import Aliases
from edgecritic.server.pictures import Pictures
from edgecritic.server.ranking import RankingApi
from edgecritic.server.schema.openapi import openapi
from edgecritic.server.security import Gate
from edgecritic.server.service import Service
from edgecritic.server.status import StatusApi

logger = logging.getLogger(__name__)


def create_app(models: Sequence[ServedModel], options: ServerOptions) -> Starlette:
    """The server of some models, to be run by any ASGI server.

    Args:
        models: at least one; the first is the default.
        options: how to behave.

    Returns:
        The application; its ``state.service`` is what has the jobs done.
    """
    service = Service(models, options)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await service.stop()

    routes = _routes(service)
    known = [route.path for route in routes]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Gate, options=options),
            Middleware(Aliases),
            Middleware(Counting, metrics=service.metrics, known=known),
        ],
        exception_handlers={
            Failure: _failed,
            HTTPException: _refused,
            ClientDisconnect: _nobody_there,
            Exception: _unforeseen,
        },
        lifespan=lifespan,
    )
    app.state.service = service
    return app


def _routes(service: Service) -> list[Route]:
    limits = service.options.limits
    pictures = Pictures(limits, Fetcher(service.options.image_hosts, limits))
    native = NativeApi(service, pictures)
    chat, ranking = ChatApi(service, pictures), RankingApi(service, pictures)
    status, page = StatusApi(service), Page()
    document = JSONResponse(openapi(service.default.id))

    async def described(_request: Request) -> Response:
        return document

    return [
        Route("/", page.index),
        Route("/assets/{name:path}", page.asset),
        Route("/health", status.health),
        Route("/metrics", status.metrics),
        Route("/openapi.json", described),
        Route("/v1/models", status.models),
        Route("/v1/models/{id:path}", status.model),
        Route("/v1/chat/completions", chat.chat, methods=["POST"]),
        Route("/v1/completions", chat.complete, methods=["POST"]),
        Route("/v1/score", ranking.score, methods=["POST"]),
        Route("/v1/rerank", ranking.rerank, methods=["POST"]),
        Route("/v1/judge/score", native.score, methods=["POST"]),
        Route("/v1/judge/compare", native.compare, methods=["POST"]),
        Route("/v1/judge/rank", native.rank, methods=["POST"]),
        Route("/v1/judge/batch", native.batch, methods=["POST"]),
    ]


def _failed(_request: Request, error: Exception) -> Response:
    failure = cast(Failure, error)
    return JSONResponse(failure.body, failure.status, dict(failure.headers))


def _refused(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: there is no such path, or not by that method."""
    refusal = cast(HTTPException, error)
    codes = {404: "not_found", 405: "method_not_allowed"}
    failure = Failure(
        refusal.status_code,
        codes.get(refusal.status_code, "refused"),
        f"{request.method} {request.url.path[:80]}: {refusal.detail}",
        "see /openapi.json",
        dict(refusal.headers or {}),
    )
    return _failed(request, failure)


def _nobody_there(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)


def _unforeseen(request: Request, _error: Exception) -> Response:
    """Starlette logs the traceback; the client learns no more than that there is one."""
    return _failed(request, UNEXPECTED)
