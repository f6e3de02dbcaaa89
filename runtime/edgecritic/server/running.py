"""Runs the server: the socket, the signals, the line that says it is ready, and its end."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from edgecritic.errors import BackendUnavailableError
from edgecritic.server.app import create_app
from edgecritic.server.catalogue import ServedModel
from edgecritic.server.options import ServerOptions
from edgecritic.server.parent import watch
from edgecritic.server.patience import patient
from edgecritic.server.service import Service

logger = logging.getLogger(__name__)
# A client that has sent half of a request's head is not waited for longer than this at the end.
_FAREWELL_S = 2


def bound(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: name or address.
        port: 0 for any that is free.

    Raises:
        BackendUnavailableError: the address is taken or is not one of this machine.
    """
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=256
        )
    except OSError as error:
        raise BackendUnavailableError(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            "choose another --port; 0 takes any that is free",
        ) from None


def run(
    models: Sequence[ServedModel],
    options: ServerOptions,
    listening: socket.socket,
    ready: Callable[[], None],
    parent: int | None = None,
) -> None:
    """Serve until a signal comes, or the parent ends.

    Args:
        models: on offer.
        options: how to behave.
        listening: where.
        ready: called as soon as requests are answered.
        parent: id of the process to end with.

    Raises:
        InputError: there is no such parent.
    """
    app = create_app(models, options)
    server = _Server(app, options, ready)
    if parent is not None:
        watch(parent, server.leave)
    server.run([listening])


def configured(app: Starlette, options: ServerOptions) -> uvicorn.Config:
    """How uvicorn runs the application; with h11, which bounds what it reads of a head."""
    return uvicorn.Config(
        app,
        http=patient(options.limits.head_s),
        ws="none",
        loop="asyncio",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=round(options.drain_s) + _FAREWELL_S,
    )


class _Server(uvicorn.Server):
    """uvicorn, which finishes what it has begun and tells those who wait that it ends."""

    def __init__(self, app: Starlette, options: ServerOptions, ready: Callable[[], None]) -> None:
        super().__init__(configured(app, options))
        self._service: Service = app.state.service
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running requests finish; refuse those that wait."""
        self._service.drain()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Being terminated is how a server ends; it is not passed on once all is done."""
        if sig == signal.SIGTERM:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)

    def leave(self) -> None:
        """End at once: whoever the answers were for has gone."""
        os._exit(0)
