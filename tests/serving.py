"""A real server on a port of this machine, whose critics are given by the test."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import uvicorn

from edgecritic.critic import Critic
from edgecritic.server import ServedModel, ServerOptions
from edgecritic.server.app import create_app
from edgecritic.server.service import Service
from scripted_critic import scripted_critic


@dataclass(frozen=True)
class ScriptedSource:
    """What a worker process calls to get the scripted critic."""

    reason: str = "the picture shows it"

    def __call__(self) -> Critic:
        return scripted_critic(self.reason)


def served(source: Any = None, name: str = "scripted") -> ServedModel:
    return ServedModel(id=name, name=name, source=source or ScriptedSource(), quant="F32")


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def events(self) -> list[tuple[str, Any]]:
        """Names and data of a stream; events without a name have ""."""
        found = []
        for block in self.content.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "data" in lines:
                data = lines["data"]
                known = data if data == "[DONE]" else json.loads(data)
                found.append((lines.get("event", ""), known))
        return found


@dataclass
class Running:
    """A server that answers."""

    port: int
    service: Service

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=_named(headers))

    def post(self, path: str, body: object, **headers: str) -> Answer:
        sent = json.dumps(body).encode()
        return self.ask("POST", path, sent, {"Content-Type": "application/json", **_named(headers)})

    def opened(self, path: str, body: object) -> socket.socket:
        """A socket on which a request was sent, and nothing was read."""
        sent = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(sent)}\r\n\r\n"
        )
        connected = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connected.sendall(head.encode() + sent)
        return connected


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def serving(
    models: Sequence[ServedModel] | None = None, options: ServerOptions | None = None
) -> Iterator[Running]:
    """A server in a thread of this process; its workers are processes."""
    app = create_app(models or (served(),), options or ServerOptions())
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, ws="none", loop="asyncio", log_config=None, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    ready = Event()
    while not server.started and thread.is_alive():
        ready.wait(0.01)
    try:
        yield Running(listening.getsockname()[1], app.state.service)
    finally:
        server.should_exit = True
        thread.join(30)
