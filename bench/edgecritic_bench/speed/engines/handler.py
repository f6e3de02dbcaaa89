"""llama-cpp-python's `Llava15ChatHandler`: the usual way to show a picture to a GGUF model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgecritic_bench.speed.dialogue import CHATML, Dialogue, Dialogues
from edgecritic_bench.speed.engines.base import Setup, level_in, winner_in
from edgecritic_bench.speed.tasks import QUESTION, Asked

_ALL_LAYERS = -1


class Handler:
    """The chat handler in the critic's chat format; otherwise as it comes."""

    alone = True

    def __init__(self, setup: Setup) -> None:
        from llama_cpp import Llama
        from llama_cpp.llama_chat_format import Llava15ChatHandler

        class ChatMlHandler(Llava15ChatHandler):
            DEFAULT_SYSTEM_MESSAGE = None
            CHAT_FORMAT = CHATML

        bundle = setup.bundle()
        manifest = bundle.manifest
        adapters = [str(bundle.verified(file)) for file in manifest.having("adapter")]
        self._dialogues = Dialogues(bundle)
        self._answer_tokens = setup.answer_tokens
        self._llama = Llama(
            str(bundle.file("language_model")),
            chat_handler=ChatMlHandler(str(bundle.file("mmproj")), verbose=False),
            lora_path=adapters[0] if adapters else None,
            n_ctx=setup.n_ctx or manifest.n_ctx,
            n_threads=setup.threads,
            n_threads_batch=setup.threads,
            n_gpu_layers=_ALL_LAYERS if setup.gpu else 0,
            verbose=False,
        )
        self.tokens: dict[str, int] = {}

    def scores(self, picture: bytes, responses: Sequence[str]) -> list[str]:
        asked = [self._dialogues.score(QUESTION, response) for response in responses]
        return [level_in(self._answer(picture, dialogue)) for dialogue in asked]

    def pairs(self, picture: bytes, pairs: Sequence[tuple[str, str]]) -> list[str]:
        asked = [self._dialogues.pair(QUESTION, *pair) for pair in pairs]
        return [winner_in(self._answer(picture, dialogue)) for dialogue in asked]

    def unrelated(self, asked: Sequence[Asked]) -> list[str]:
        return [
            level_in(self._answer(a.picture, self._dialogues.score(a.question, a.response)))
            for a in asked
        ]

    def _answer(self, picture: bytes, asked: Dialogue) -> str:
        reply: Any = self._llama.create_chat_completion(
            messages=asked.messages(picture),  # type: ignore[arg-type]
            max_tokens=self._answer_tokens,
            temperature=0.0,
            repeat_penalty=1.0,
            stop=[asked.stop],
        )
        usage = reply["usage"]
        self.tokens = {"prompt": usage["prompt_tokens"], "generated": usage["completion_tokens"]}
        return str(reply["choices"][0]["message"]["content"]).strip()
