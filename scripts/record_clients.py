"""Requests of real clients, recorded while they judge, and what they made of the answers.

    python -m venv clients && clients/bin/pip install deepeval ragas 'langchain-community<0.4'
    edgecritic serve &
    clients/bin/python scripts/record_clients.py > tests/fixtures/client_requests.jsonl

The clients run as their users run them; between them and the server stands a recorder. What each
read out of the answers is told on stderr, and a client that could read nothing fails the script.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any, Literal

PICTURES = Path(__file__).parents[1] / "runtime" / "edgecritic" / "demo_images"
SEVEN = PICTURES / "seven.png"
QUESTION, GOOD = "Which digit is this?", "It is a 7."


class Recorder(BaseHTTPRequestHandler):
    """Hands requests on, and keeps their bodies."""

    server_url: str
    bodies: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append(json.loads(body))
        head = {"Content-Type": "application/json"}
        sent = urllib.request.Request(self.server_url + self.path, body, head)  # noqa: S310 - ours
        with urllib.request.urlopen(sent, timeout=300) as answer:  # noqa: S310 - ours
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def recording(server: str, bodies: list[dict[str, Any]]) -> Iterator[str]:
    """The base URL of a recorder in front of a server."""
    handler = type("Handler", (Recorder,), {"server_url": server, "bodies": bodies})
    recorder = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=recorder.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{recorder.server_address[1]}/v1"
    finally:
        recorder.shutdown()


def openai_parse(base: str) -> Iterator[tuple[str, object]]:
    """The client of OpenAI, with a schema that it makes out of a class."""
    from openai import OpenAI
    from pydantic import BaseModel

    class Grade(BaseModel):
        reason: str
        verdict: Literal["right", "wrong"]

    picture = base64.b64encode(SEVEN.read_bytes()).decode()
    content: list[Any] = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        {"type": "text", "text": f"{QUESTION} Is this right: {GOOD}"},
    ]
    asked: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}]}
    client = OpenAI(base_url=base, api_key="local")
    parsed = client.chat.completions.parse(**asked, response_format=Grade)
    yield "verdict", parsed.choices[0].message.parsed
    pieces = client.chat.completions.create(**asked, max_tokens=16, stream=True)
    yield "stream", "".join(piece.choices[0].delta.content or "" for piece in pieces)


def deepeval(base: str) -> Iterator[tuple[str, object]]:
    """G-Eval about a text and about a picture, by the model class that asks for probabilities."""
    os.environ |= {"DEEPEVAL_TELEMETRY_OPT_OUT": "YES", "DEEPEVAL_DISABLE_DOTENV": "1"}
    from deepeval.metrics import GEval
    from deepeval.models import OpenAIModel
    from deepeval.test_case import LLMTestCase, MLLMImage, SingleTurnParams

    metric = GEval(
        name="Correctness",
        evaluation_params=[SingleTurnParams.INPUT, SingleTurnParams.ACTUAL_OUTPUT],
        evaluation_steps=["Check whether the answer is right."],
        model=OpenAIModel(model="gpt-4.1", base_url=base, api_key="local"),
        async_mode=False,
    )
    for question in (QUESTION, f"{QUESTION} {MLLMImage(url=str(SEVEN), local=True)}"):
        case = LLMTestCase(input=question, actual_output=GOOD)
        score = metric.measure(case, _show_indicator=False)
        yield "g_eval", (score, metric.reason)


def ragas(base: str) -> Iterator[tuple[str, object]]:
    """A metric of its collections, which asks by way of instructor."""
    from openai import AsyncOpenAI
    from ragas.llms import llm_factory
    from ragas.metrics.collections import AnswerAccuracy

    async def score() -> object:
        client = AsyncOpenAI(base_url=base, api_key="local")
        metric = AnswerAccuracy(llm=llm_factory("gpt-4o-mini", client=client))
        result = await metric.ascore(user_input=QUESTION, response=GOOD, reference="7")
        return result.value

    yield "rating", asyncio.run(score())


CLIENTS = {"openai": openai_parse, "deepeval": deepeval, "ragas": ragas}


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--server", default="http://127.0.0.1:8642")
    parser.add_argument("clients", nargs="*", default=list(CLIENTS))
    args = parser.parse_args()
    picture = base64.b64encode(SEVEN.read_bytes()).decode()
    for client in args.clients:
        bodies: list[dict[str, Any]] = []
        with recording(args.server, bodies) as base:
            for parser_name, found in CLIENTS[client](base):
                if found in (None, ""):
                    raise SystemExit(f"{client} could read nothing")
                print(f"{client} {version(client)}: {found!r}", file=sys.stderr)
                for body in bodies:
                    row = {
                        "client": client,
                        "source": version(client),
                        "parser": parser_name,
                        "body": body,
                    }
                    text = json.dumps(row, ensure_ascii=False)
                    print(text.replace(picture, "{{seven.png}}"))
                bodies.clear()
    return 0


if __name__ == "__main__":
    sys.exit(main())
