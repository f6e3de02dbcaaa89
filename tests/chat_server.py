"""A chat endpoint in a thread, which answers as a script says and remembers what it was asked."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

Body = dict[str, Any]


@dataclass
class Asked:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: Body

    @property
    def user(self) -> str:
        """The text of the user's last turn."""
        content = [m["content"] for m in self.body["messages"] if m["role"] == "user"][-1]
        return content if isinstance(content, str) else content[-1]["text"]

    @property
    def begun(self) -> str:
        """What the assistant's turn begins with."""
        message = self.body["messages"][-1]
        return message["content"] if message["role"] == "assistant" else ""


@dataclass
class Said:
    """One response; `chunks` are sent one by one, `pause` seconds apart."""

    chunks: Sequence[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0.0
    length: int | None = None
    """Of the Content-Length header, to break off early."""


Script = Callable[[Asked], Said]


def said_json(value: object, status: int = 200, **headers: str) -> Said:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    content = json.dumps(value).encode()
    return Said([content], status, {"Content-Type": "application/json", **named})


def said_events(events: Iterable[object], *, end: bool = True, pause: float = 0.0) -> Said:
    chunks = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
    if end:
        chunks.append(b"data: [DONE]\n\n")
    return Said(chunks, headers={"Content-Type": "text/event-stream"}, pause=pause)


def completion(content: object, **choice: object) -> Body:
    usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    message = {"role": "assistant", "content": content}
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}],
        "usage": usage,
    }


def delta(content: object, **choice: object) -> Body:
    return {"choices": [{"index": 0, "delta": {"content": content}, **choice}]}


class ChatServer:
    """Answers on a port of this machine."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.stopped = Event()
        self.most_at_once = 0
        self._at_once = 0
        self._lock = Lock()
        handler = type("Handler", (_Handler,), {"chat": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1

    def close(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    chat: ChatServer

    def do_POST(self) -> None:
        with self.chat.counted():
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = Asked(self.path, dict(self.headers), body)
            self.chat.asked.append(asked)
            with suppress(OSError):  # the client may have gone
                self._answer(self.chat.script(asked))

    def _answer(self, said: Said) -> None:
        self.send_response(said.status)
        for name, value in said.headers.items():
            self.send_header(name, value)
        if said.length is not None:
            self.send_header("Content-Length", str(said.length))
        self.end_headers()
        self.wfile.flush()
        for chunk in said.chunks:
            if said.pause and self.chat.stopped.wait(said.pause):
                return
            self.wfile.write(chunk)
            self.wfile.flush()

    def do_GET(self) -> None:
        self.send_response(405)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


Distribution = Mapping[str, float]


@dataclass
class ScriptedModel:
    """A model whose next tokens' probabilities depend on what it was asked and has said.

    Its tokens are whatever texts the script names; the text ``""`` ends the answer.
    """

    script: Callable[[Asked, str], Distribution]
    continues: bool = True
    delay: float = 0.0

    def __call__(self, asked: Asked) -> Said:
        time.sleep(self.delay)
        begun = asked.begun if self.continues else ""
        said, tokens = begun, []
        for _ in range(asked.body["max_tokens"]):
            odds = self.script(asked, said)
            best = max(odds, key=lambda text: odds[text])
            if not best:
                break
            tokens.append((best, odds))
            said += best
        text = said.removeprefix(begun)
        for stop in asked.body.get("stop", ()):
            text = text.partition(stop)[0]
        # One token a character, and four that frame each turn; an open turn lacks two of them.
        messages = [str(m["content"]) for m in asked.body["messages"]]
        n_prompt = sum(len(content) + 4 for content in messages) + 2
        if asked.begun:
            n_prompt += -len(asked.begun) + 1 - (4 if self.continues else 0)
        usage = {"prompt_tokens": n_prompt, "completion_tokens": len(tokens)}
        if asked.body.get("stream"):
            pieces = [text[i : i + 4] for i in range(0, len(text), 4)]
            last = {"choices": [], "usage": usage}
            return said_events([*map(delta, pieces), delta("", finish_reason="stop"), last])
        listed = asked.body.get("top_logprobs", 0)
        log_probs = {"content": [_token(text, odds, listed) for text, odds in tokens]}
        return said_json(
            completion(text, logprobs=log_probs if listed else None) | {"usage": usage}
        )


def _token(text: str, odds: Distribution, listed: int) -> Body:
    likeliest = sorted(odds.items(), key=lambda item: -item[1])[:listed]
    top = [{"token": t, "logprob": math.log(p), "bytes": list(t.encode())} for t, p in likeliest]
    return {"token": text, "logprob": math.log(odds[text]), "top_logprobs": top}
