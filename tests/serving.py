"""A real server on a port of this machine, whose critics are given by the test."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import uvicorn

from edgecritic.critic import Critic
from edgecritic.errors import ArtifactError
from edgecritic.server import ServedModel, ServerOptions
from edgecritic.server.app import create_app
from edgecritic.server.running import bound, configured
from edgecritic.server.service import Service
from scripted_critic import scripted_critic


@dataclass(frozen=True)
class ScriptedSource:
    """What a worker process calls to get the scripted critic."""

    reason: str = "the picture shows it"

    def __call__(self) -> Critic:
        return scripted_critic(self.reason)


@dataclass(frozen=True)
class TroubledSource:
    """The same critic in a process that does what the question says."""

    def __call__(self) -> Critic:
        return scripted_critic("it is so", _troubled)


def _troubled(prompt: bytes) -> None:
    if b"CRASH" in prompt:
        os._exit(7)
    if b"HANG" in prompt:
        time.sleep(600)
    if b"STOP" in prompt:
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(600)  # the signal may come to another thread first
    if b"BUG" in prompt:
        raise RuntimeError("a bug of the engine")
    if b"SLOW" in prompt:
        time.sleep(0.05)


@dataclass(frozen=True)
class FailingSource:
    """A model that cannot be loaded."""

    how: str = "missing"

    def __call__(self) -> Critic:
        if self.how == "crash":
            os._exit(9)
        if self.how == "hang":
            time.sleep(600)
        raise ArtifactError("the model file is missing", "fetch it")


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
    options = options or ServerOptions(drain_s=1)
    app = create_app(models or (served(),), options)
    listening = bound("127.0.0.1", 0)
    server = uvicorn.Server(configured(app, options))
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
        assert not thread.is_alive(), "the server did not end"
