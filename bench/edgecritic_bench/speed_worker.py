"""One engine in a process of its own, which does what lines of JSON on its stdin ask for.

Run by `edgecritic_bench.speed`. Engines: ``edgecritic``, and ``handler``, llama-cpp-python's
`Llava15ChatHandler` on the same language model, adapter, vision tower and texts.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Protocol

from PIL import Image

from edgecritic import Bundle, Critic
from edgecritic_bench.speed_tasks import (
    ORDERED_PAIRS,
    QUESTION,
    RESPONSES,
    Dialogue,
    default_picture,
    fill,
    new_picture,
)

HANDLER_PAIRS = 3
"""How many of the 20 ordered pairs the handler is timed on; it does the same work for each."""
_MAX_TOKENS = 12
_NUMBER = re.compile(r"\d+")


class Engine(Protocol):
    """What can be timed. `picture` is PNG; every method returns what was decided.

    Attributes:
        tokens: how long the last prompt was.
    """

    tokens: dict[str, int]

    def verdict(self, picture: bytes, response: int) -> str: ...
    def compare(self, picture: bytes) -> str: ...
    def rank(self, picture: bytes) -> str: ...


class Edgecritic:
    """The runtime's public API."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.critic = Critic.load(bundle, threads=threads, device="cpu")
        self.tokens: dict[str, int] = {}

    def verdict(self, picture: bytes, response: int) -> str:
        found = self.critic.score(picture, QUESTION, RESPONSES[response], rationale=False)
        self.tokens = {"image": found.usage.image_tokens, "prompt": found.usage.prompt_tokens}
        return str(found.level)

    def compare(self, picture: bytes) -> str:
        first, second = RESPONSES[:2]
        return str(self.critic.compare(picture, QUESTION, first, second, rationale=False).winner)

    def rank(self, picture: bytes) -> str:
        return str(self.critic.rank(picture, QUESTION, RESPONSES).order)


class Handler:
    """llama-cpp-python's own chat handler, in the critic's chat format; otherwise as it comes."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        from llama_cpp import Llama
        from llama_cpp.llama_chat_format import Llava15ChatHandler

        class ChatMlHandler(Llava15ChatHandler):
            DEFAULT_SYSTEM_MESSAGE = None
            CHAT_FORMAT = (
                "{% for message in messages %}<|im_start|>{{ message.role }}\n"
                "{% if message.content is string %}{{ message.content }}{% else %}"
                "{% for part in message.content %}"
                "{% if part.type == 'image_url' %}{{ part.image_url.url }}"
                "{% else %}{{ part.text }}{% endif %}"
                "{% endfor %}{% endif %}<|im_end|>{{ '\n' }}{% endfor %}"
                "<|im_start|>assistant{{ '\n' }}"  # Jinja drops a plain newline at the end
            )

        manifest = bundle.manifest
        adapters = [str(bundle.verified(file)) for file in manifest.having("adapter")]
        self.dialect = bundle.dialect()
        self.rubric = manifest.rubric
        self.llama = Llama(
            str(bundle.file("language_model")),
            chat_handler=ChatMlHandler(str(bundle.file("mmproj")), verbose=False),
            lora_path=adapters[0] if adapters else None,
            n_ctx=manifest.n_ctx,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )
        self.tokens: dict[str, int] = {}

    def verdict(self, picture: bytes, response: int) -> str:
        text = self._answer(picture, "pointwise", response=RESPONSES[response])
        number = _NUMBER.search(text)
        return number[0] if number else text

    def compare(self, picture: bytes) -> str:
        first, second = RESPONSES[:2]
        answers = [
            self._answer(picture, "pairwise", first=one, second=other)
            for one, other in ((first, second), (second, first))
        ]
        return " / ".join(answers)

    def rank(self, picture: bytes) -> str:
        answers = [
            self._answer(picture, "pairwise", first=RESPONSES[i], second=RESPONSES[j])
            for i, j in ORDERED_PAIRS[:HANDLER_PAIRS]
        ]
        return " / ".join(answers)

    def _answer(self, picture: bytes, setting: str, **values: str) -> str:
        asked = self._dialogue(setting, values)
        url = "data:image/png;base64," + base64.b64encode(picture).decode()
        reply: Any = self.llama.create_chat_completion(
            messages=[
                {"role": "system", "content": asked.system},
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": url}},
                        {"type": "text", "text": "\n" + asked.user},
                    ],
                },
            ],
            max_tokens=_MAX_TOKENS,
            temperature=0.0,
            repeat_penalty=1.0,
            stop=[asked.stop],
        )
        usage = reply["usage"]
        self.tokens = {"prompt": usage["prompt_tokens"], "generated": usage["completion_tokens"]}
        return str(reply["choices"][0]["message"]["content"]).strip()

    def _dialogue(self, setting: str, values: dict[str, str]) -> Dialogue:
        wordings: Any = self.dialect.wordings
        answers: Any = self.dialect.answers
        rubric = {"low": str(self.rubric.low), "high": str(self.rubric.high)}
        text = fill(wordings[setting][0], {**rubric, **values, "question": QUESTION})
        return Dialogue(self.dialect.system, text, answers[setting].reason[:1])


def memory_mib() -> dict[str, float]:
    """Resident memory of this process in MiB: now, its peak, and the part that is no file.

    Only Linux tells all three; elsewhere nothing is reported.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    lines = (line.split() for line in status.read_text(encoding="utf-8").splitlines())
    found = {words[0]: words[1] for words in lines if len(words) == 3 and words[2] == "kB"}
    names = {"now": "VmRSS:", "peak": "VmHWM:", "anonymous": "RssAnon:"}
    return {name: int(found[key]) / 1024 for name, key in names.items() if key in found}


def act(engine: Engine, base: Image.Image, task: str, number: int) -> dict[str, Any]:
    """Do one task and time it; ``cached`` judges another response to the picture before it."""
    picture = new_picture(base, number)
    if task == "cached":
        engine.verdict(picture, 0)
    wall, processor = perf_counter(), process_time()
    match task:
        case "verdict":
            decided = engine.verdict(picture, 0)
        case "cached":
            decided = engine.verdict(picture, 1)
        case "compare":
            decided = engine.compare(picture)
        case _:
            decided = engine.rank(picture)
    return {
        "wall": perf_counter() - wall,
        "processor": process_time() - processor,
        "decided": decided,
    }


def main() -> int:
    """Load the engine that the arguments name, then serve stdin until it ends."""
    name, folder, threads, image = sys.argv[1:5]
    bundle = Bundle.embedded() if folder == "embedded" else Bundle.read(folder)
    base = default_picture() if image == "default" else Image.open(image).convert("RGB")
    started = perf_counter()
    make = Edgecritic if name == "edgecritic" else Handler
    engine: Engine = make(bundle, int(threads))
    _say({"loaded": perf_counter() - started, "memory": memory_mib()})
    for line in sys.stdin:
        asked = json.loads(line)
        done = act(engine, base, asked["task"], asked["number"])
        _say({**done, "memory": memory_mib(), "tokens": engine.tokens})
    return 0


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
