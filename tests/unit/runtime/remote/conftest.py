"""Chat endpoints in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from chat_server import ChatServer, Script
from edgecritic import Critic
from edgecritic.remote import RemoteOptions, client


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sends a key of whoever runs it, and none waits long between attempts."""
    for name in ("EDGECRITIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.01)


@pytest.fixture
def serve() -> Iterator[Callable[[Script], ChatServer]]:
    """Starts servers, and stops them after the test."""
    servers: list[ChatServer] = []

    def start(script: Script) -> ChatServer:
        servers.append(ChatServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def remote(serve: Callable[[Script], ChatServer]) -> Callable[..., tuple[Critic, ChatServer]]:
    """A critic behind a server that plays a script."""

    def start(script: Script, **options: object) -> tuple[Critic, ChatServer]:
        server = serve(script)
        chosen = RemoteOptions(**options)
        return Critic.remote(server.url, "judge-72b", options=chosen), server

    return start
