"""llama-cpp-python's `Llava15ChatHandler`: the usual way to show a picture to a GGUF model."""

from __future__ import annotations

from typing import Any, cast

from edgecritic_bench.speed.dialogue import CHATML, Dialogue
from edgecritic_bench.speed.engines.base import Setup
from edgecritic_bench.speed.engines.written import Written

_ALL_LAYERS = -1


class Handler(Written):
    """The chat handler in the critic's chat format; otherwise as it comes."""

    def __init__(self, setup: Setup) -> None:
        from llama_cpp import Llama
        from llama_cpp.llama_chat_format import Llava15ChatHandler

        class ChatMlHandler(Llava15ChatHandler):
            DEFAULT_SYSTEM_MESSAGE = None
            CHAT_FORMAT = CHATML

        bundle = setup.bundle()
        manifest = bundle.manifest
        adapters = [str(bundle.verified(file)) for file in manifest.having("adapter")]
        super().__init__(bundle)
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

    def answer(self, picture: bytes, asked: Dialogue) -> str:
        reply: Any = self._llama.create_chat_completion(
            messages=cast(Any, asked.messages(picture)),
            max_tokens=self._answer_tokens,
            temperature=0.0,
            repeat_penalty=1.0,
            stop=[asked.stop],
        )
        usage = reply["usage"]
        self.tokens = {"prompt": usage["prompt_tokens"], "generated": usage["completion_tokens"]}
        return str(reply["choices"][0]["message"]["content"]).strip()
