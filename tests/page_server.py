"""The native API as the page sees it, played by scripted critics that wait when a test says so.

The real server judges as fast as it can and in a process of its own; here a test holds a judgement
between two pieces of its reason, cuts the connection, and lets two bundles disagree.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from select import select
from socket import MSG_PEEK, SHUT_RDWR, socket
from threading import Event, Thread
from typing import Any

from edgecritic import Critic, CriticError, Rubric
from edgecritic.verdict import Preference, Verdict
from scripted_critic import scripted_critic

PAGE = Path(__file__).parents[1] / "runtime" / "edgecritic" / "server" / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
Body = dict[str, Any]


class StandIn:
    """What the server has and what happened to it.

    Attributes:
        critics: one for each model.
        go_on: cleared, it holds every judgement before its next piece.
        asked: bodies of judgements, in order.
        broken_off: set when a client left in the middle.
        token: wanted of every call, if not empty.
    """

    def __init__(self) -> None:
        self.critics: dict[str, Critic] = {"critic-Q8_0": scripted_critic()}
        self.go_on = Event()
        self.go_on.set()
        self.asked: list[Body] = []
        self.broken_off = Event()
        self.token = ""
        self.url = ""

    @property
    def models(self) -> list[Body]:
        return [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "edgecritic",
                "edgecritic": {
                    "name": name,
                    "quant": name.partition("-")[2],
                    "rubric": {"low": 1, "high": 10},
                    "good_for": ["digits", "shapes"],
                    "bad_for": ["photographs"],
                    "loaded": True,
                },
            }
            for name in self.critics
        ]

    @property
    def health(self) -> Body:
        return {
            "status": "ok",
            "version": "0.0",
            "models": [{"id": name, "state": "ready"} for name in self.critics],
            "queue": {"waiting": 0, "limit": 8},
        }

    def judgement(self, kind: str, body: Body) -> Iterator[Verdict | Preference | Any]:
        """The steps of a judgement, as the critic makes them."""
        critic = self.critics[body.get("model") or next(iter(self.critics))]
        image = body["image"] and base64.b64decode(body["image"].partition(",")[2])
        rubric = body.get("rubric")
        common: Body = {
            "reference": body.get("reference"),
            "rubric": rubric and Rubric.from_dict(rubric),
        }
        if kind == "rank":
            yield critic.rank(image, body["question"], body["responses"], **common)
            return
        common["rationale"] = body.get("rationale", True)
        if kind == "score":
            steps = critic.score_stream(image, body["question"], body["response"], **common)
        else:
            answers = body["first"], body["second"]
            steps = critic.compare_stream(image, body["question"], *answers, **common)
        yield from steps


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answers = {
            "/health": self.stand_in.health,
            "/v1/models": {"object": "list", "data": self.stand_in.models},
        }
        if self.path == "/" or self.path.startswith("/assets/"):
            self._file(PAGE / (self.path.removeprefix("/assets/").strip("/") or "index.html"))
        elif self.path in answers:
            if self._admitted():
                self._json(answers[self.path])
        else:
            self._json({"error": {"message": "there is no such path", "hint": ""}}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.stand_in.asked.append(body)
        steps = self.stand_in.judgement(self.path.rpartition("/")[2], body)
        try:
            if body.get("stream"):
                self._events(steps, body.get("rationale", True))
            else:
                self._json(list(steps)[-1].to_dict())
        except CriticError as error:
            self._json(_failure(error), 400)
        except OSError:
            self.stand_in.broken_off.set()
            self.close_connection = True

    def _events(self, steps: Iterator[Any], rationale: bool) -> None:
        first = next(steps)  # what cannot be judged is a 400
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        self._event("progress", {"stage": "prefill", "done": 3, "total": 9})
        last = first
        if rationale:
            self._event("verdict", first.to_dict())
        for step in steps:
            self._wait()
            if isinstance(step, str):
                self._event("text", {"text": step})
            else:
                last = step
        self._event("result", last.to_dict())

    def _wait(self) -> None:
        """Until the test lets it go on, unless the client has left."""
        while not self.stand_in.go_on.wait(0.05):
            readable, _, _ = select([self.connection], [], [], 0)
            if readable and not self.connection.recv(1, MSG_PEEK):
                raise ConnectionResetError

    def _event(self, name: str, data: Body) -> None:
        self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()

    def _admitted(self) -> bool:
        wanted = self.stand_in.token
        if not wanted or self.headers.get("Authorization") == f"Bearer {wanted}":
            return True
        self._json({"error": {"message": "no valid token", "hint": ""}}, 401)
        return False

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._json({"error": {"message": "there is no such file"}}, 404)
            return
        self._answer(path.read_bytes(), TYPES[path.suffix])

    def _json(self, value: Body, status: int = 200) -> None:
        self._answer(json.dumps(value).encode(), "application/json", status)

    def _answer(self, content: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _failure(error: CriticError) -> Body:
    return {"error": {"message": error.message, "hint": error.hint, "type": "", "code": ""}}


class _Server(ThreadingHTTPServer):
    """Cuts all connections at the end: browsers keep them open for the next request."""

    daemon_threads = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._connections: list[socket] = []

    def get_request(self) -> tuple[socket, Any]:
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def server_close(self) -> None:
        super().server_close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(SHUT_RDWR)


@contextmanager
def page_server(stand_in: StandIn, port: int = 0) -> Iterator[StandIn]:
    """Serve until the end; all connections are cut then."""
    handler = type("Handler", (_Handler,), {"stand_in": stand_in})
    server = _Server(("127.0.0.1", port), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stand_in
    finally:
        stand_in.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
