"""The server as it is installed, with the critic that ships with it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import edgecritic

SEVEN = Path(edgecritic.__file__).parent / "demo_images" / "seven.png"
URL = "data:image/png;base64," + base64.b64encode(SEVEN.read_bytes()).decode()
Ask = Callable[[str, dict[str, Any]], Any]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Posts to a sidecar. Needs the language model: `edgecritic models pull embedded`."""
    command = [sys.executable, "-m", "edgecritic", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--parent-pid", str(os.getpid())], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())

    def post(path: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {ready['token']}"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{ready['port']}{path}", json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.loads(answer.read())

    yield post
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_it_tells_right_from_wrong(ask: Ask) -> None:
    body = {"image": URL, "question": "Which digit is this?", "rationale": False}
    right = ask("/v1/judge/score", {**body, "response": "It is a 7."})
    wrong = ask("/v1/judge/score", {**body, "response": "It is a 1."})
    assert right["score"] > 8
    assert wrong["score"] < 4
    pair = ask("/v1/judge/compare", {**body, "first": "It is a 1.", "second": "It is a 7."})
    assert pair["winner"] == "second"


def test_it_keeps_to_a_schema_in_a_chat_about_a_picture(ask: Ask) -> None:
    schema = {
        "type": "object",
        "properties": {
            "digit": {"type": "integer", "minimum": 0, "maximum": 9},
            "why": {"type": "string"},
        },
        "required": ["digit", "why"],
        "additionalProperties": False,
    }
    picture = {"type": "image_url", "image_url": {"url": URL}}
    content = [picture, {"type": "text", "text": "Which digit is this?"}]
    answer = ask(
        "/v1/chat/completions",
        {
            "messages": [{"role": "user", "content": content}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "digit", "schema": schema},
            },
            "max_tokens": 24,
            "temperature": 0.8,
            "logprobs": True,
            "top_logprobs": 3,
        },
    )
    (choice,) = answer["choices"]
    told = json.loads(choice["message"]["content"])
    assert set(told) == {"digit", "why"}
    assert told["digit"] in range(10)
    tokens = choice["logprobs"]["content"]
    assert (
        bytes(b for token in tokens for b in token["bytes"]).decode()
        == choice["message"]["content"]
    )


def test_a_known_prompt_is_answered_from_logits(ask: Ask) -> None:
    system = "[[A>>B]] [[A>B]] [[A=B]] [[B>A]] [[B>>A]]"
    user = (
        "<|User Prompt|>\nWhich digit is this?\n\n"
        "<|The Start of Assistant A's Answer|>\nIt is a 1.\n"
        "<|The End of Assistant A's Answer|>\n\n"
        "<|The Start of Assistant B's Answer|>\nIt is a 7.\n"
        "<|The End of Assistant B's Answer|>"
    )
    content = [
        {"type": "text", "text": user},
        {"type": "image_url", "image_url": {"url": URL.replace("png", "jpeg").replace(",", ", ")}},
    ]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": content}]
    answer = ask("/v1/chat/completions", {"messages": messages, "max_tokens": 32})
    assert answer["choices"][0]["message"]["content"] == "[[B>>A]]"
    assert answer["choices"][0]["message"]["reasoning_content"]
