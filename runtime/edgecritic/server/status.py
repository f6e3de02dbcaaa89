"""``/v1/models``, ``/health`` and ``/metrics``: what there is, and how it does."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from edgecritic.server.desk import Desk
from edgecritic.server.metrics import Labels
from edgecritic.server.service import Service
from edgecritic.version import installed_version

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class StatusApi:
    """Answers requests that ask for no judgement."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def models(self, _request: Request) -> Response:
        """The models on offer, as OpenAI lists them."""
        listed = [_described(desk) for desk in self._service.desks.values()]
        return JSONResponse({"object": "list", "data": listed})

    async def model(self, request: Request) -> Response:
        """One of them."""
        model = self._service.model(request.path_params["id"])
        return JSONResponse(_described(self._service.desks[model.id]))

    async def health(self, _request: Request) -> Response:
        """The server answers; which models are loaded, and how many requests wait."""
        service = self._service
        return JSONResponse(
            {
                "status": "ok",
                "version": installed_version(),
                "models": [
                    {"id": name, "state": desk.state} for name, desk in service.desks.items()
                ],
                "queue": {"waiting": service.n_waiting, "limit": service.options.queue},
            }
        )

    async def metrics(self, _request: Request) -> Response:
        """Counters for Prometheus."""
        desks = self._service.desks.values()
        gauges: dict[str, tuple[str, dict[Labels, float]]] = {
            "waiting": ("Jobs that wait for their turn.", {(): self._service.n_waiting}),
            "running": ("Jobs that are being done.", {(): sum(desk.n_running for desk in desks)}),
            "loaded": (
                "Whether a model is loaded.",
                {(("model", desk.model.id),): float(desk.state == "ready") for desk in desks},
            ),
        }
        return PlainTextResponse(self._service.metrics.text(gauges), media_type=_PROMETHEUS)


def _described(desk: Desk) -> dict[str, Any]:
    model = desk.model
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "edgecritic",
        "edgecritic": {
            "name": model.name,
            "quant": model.quant,
            "rubric": {"low": model.low, "high": model.high},
            "good_for": list(model.good_for),
            "bad_for": list(model.bad_for),
            "loaded": desk.state == "ready",
        },
    }
