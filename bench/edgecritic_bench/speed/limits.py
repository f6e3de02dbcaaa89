"""What the machine could do at most, and what a token takes of it: bytes and operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import perf_counter
from typing import Any, Final

from edgecritic import Bundle
from edgecritic.gguf_header import read_header

_EMBEDDING: Final = "token_embd.weight"
_REPEATS: Final = 10


def per_token(bundle: Bundle) -> dict[str, int]:
    """What one token of the language model takes.

    Returns:
        ``bytes`` of weights that are read, ``weights`` that are multiplied with: all matrices but
        the embedding, of which one row is read, unless it is the head, too.
    """
    tensors = read_header(bundle.file("language_model")).tensors
    tied = "output.weight" not in tensors
    read = [tensor for name, tensor in tensors.items() if tied or name != _EMBEDDING]
    return {
        "bytes": sum(tensor.n_bytes for tensor in read),
        "weights": sum(math.prod(tensor.shape) for tensor in read if len(tensor.shape) > 1),
    }


def machine(gpu: bool, threads: int) -> dict[str, Any]:
    """Bytes a second of a large copy, and operations a second of a large product, by torch.

    A fresh process measures, so that the memory is free again. Half precision on a GPU (bf16),
    single precision on a CPU.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_machine, gpu, threads).result()


def _machine(gpu: bool, threads: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(threads)
    device = torch.device("cuda" if gpu else "cpu")
    side, count = (8192, 1 << 30) if gpu else (2048, 1 << 26)
    source = torch.ones(count, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    matrix = torch.ones((side, side), dtype=torch.bfloat16 if gpu else torch.float32, device=device)

    def seconds(work: Callable[[], object]) -> float:
        work()
        times = []
        for _ in range(_REPEATS):
            started = perf_counter()
            work()
            if gpu:
                torch.cuda.synchronize()
            times.append(perf_counter() - started)
        return min(times)

    return {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "bandwidth": 2 * source.nbytes / seconds(lambda: target.copy_(source)),
        "operations": 2 * side**3 / seconds(lambda: matrix @ matrix),
    }
