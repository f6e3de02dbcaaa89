"""llama.cpp's own calls in a loop: as fast as one sequence can go."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from time import perf_counter

from edgecritic_bench.speed.engines.base import Setup, UnusableEngineError
from edgecritic_bench.speed.tasks import Asked

_ALL_LAYERS = -1


class Plain:
    """A language model without pictures, prompts and judgements.

    It has the methods of an `Engine` so that it starts like one, and judges nothing.
    """

    alone = True

    def __init__(self, setup: Setup) -> None:
        import llama_cpp

        bundle = setup.bundle()
        adapters = [str(bundle.verified(file)) for file in bundle.manifest.having("adapter")]
        self._llama = llama_cpp.Llama(
            str(bundle.file("language_model")),
            lora_path=adapters[0] if adapters else None,
            n_ctx=setup.n_ctx or bundle.manifest.n_ctx,
            n_threads=setup.threads,
            n_threads_batch=setup.threads,
            n_gpu_layers=_ALL_LAYERS if setup.gpu else 0,
            flash_attn=True,
            verbose=False,
        )
        self.tokens: dict[str, int] = {}

    def rates(self, length: int, tokens: int) -> dict[str, float]:
        """Tokens a second.

        Args:
            length: of a prompt of one token over and over.
            tokens: to decode behind it, one by one.
        """
        self._decode([1])  # what is set up with the first batch does not count
        self._forget()
        started = perf_counter()
        step = self._llama.n_batch
        for at in range(0, length, step):
            self._decode([1] * min(step, length - at))
        middle = perf_counter()
        for _ in range(tokens):
            self._decode([1])
        return {
            "prompt": length,
            "prefill": length / (middle - started),
            "decode": tokens / (perf_counter() - middle),
            "written": tokens,
        }

    def _decode(self, ids: Sequence[int]) -> None:
        import llama_cpp

        context = self._llama.ctx
        array = (ctypes.c_int32 * len(ids))(*ids)
        status = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(ids)))
        if status:
            raise UnusableEngineError(f"llama_decode gave {status}")
        llama_cpp.llama_get_logits_ith(context, -1)  # waits until they are there

    def _forget(self) -> None:
        import llama_cpp

        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._llama.ctx), True)

    def scores(self, picture: bytes, responses: Sequence[str]) -> list[str]:
        return []

    def pairs(self, picture: bytes, pairs: Sequence[tuple[str, str]]) -> list[str]:
        return []

    def unrelated(self, asked: Sequence[Asked]) -> list[str]:
        return []
