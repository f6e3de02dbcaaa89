"""llama.cpp's own server, in this process by way of xllamacpp: prefix cache, parallel slots."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from edgecritic import MissingExtraError
from edgecritic_bench.speed.dialogue import Dialogue
from edgecritic_bench.speed.engines.base import Setup, UnusableEngineError
from edgecritic_bench.speed.engines.written import Written

_SILENT: Final = -1
_ALL_LAYERS: Final = 999


class Server(Written):
    """The server; all requests of a task are sent at the same time.

    Args:
        setup: how to run.
        slots: requests that it works on together. Each has its own cached prefix.
    """

    alone = False

    def __init__(self, setup: Setup, slots: int) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            raise MissingExtraError(
                "llama.cpp's server is taken from xllamacpp", "pip install xllamacpp"
            ) from error
        bundle = setup.bundle()
        manifest = bundle.manifest
        params = xllamacpp.CommonParams()
        params.model.path = str(bundle.file("language_model"))
        params.mmproj.path = str(bundle.file("mmproj"))
        params.lora_adapters = [
            xllamacpp.CommonAdapterLoraInfo(str(bundle.verified(file)), 1.0)
            for file in manifest.having("adapter")
        ]
        params.n_parallel = slots
        params.n_ctx = setup.n_ctx or manifest.n_ctx
        params.kv_unified = True
        params.n_gpu_layers = _ALL_LAYERS if setup.gpu else 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = setup.threads
        params.chat_template = "chatml"
        params.verbosity = _SILENT
        super().__init__(bundle)
        self._answer_tokens = setup.answer_tokens
        self._server = xllamacpp.Server(params)

    def answers(self, asked: Sequence[tuple[bytes, Dialogue]]) -> list[str]:
        with ThreadPoolExecutor(len(asked)) as pool:
            return list(pool.map(self.answer, *zip(*asked, strict=True)))

    def answer(self, picture: bytes, asked: Dialogue) -> str:
        reply: Any = self._server.handle_chat_completions(
            {
                "messages": asked.messages(picture),
                "max_tokens": self._answer_tokens,
                "temperature": 0.0,
                "stop": [asked.stop],
                "cache_prompt": True,
            }
        )
        if "error" in reply:
            raise UnusableEngineError(f"the server answered {reply['error']}")
        usage = reply["usage"]
        self.tokens = {"prompt": usage["prompt_tokens"], "generated": usage["completion_tokens"]}
        return str(reply["choices"][0]["message"]["content"]).strip()
