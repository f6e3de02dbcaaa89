"""What an engine takes of memory, measured in a process that has done nothing before."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Final

import numpy as np

from edgecritic.backends.llamacpp.native import Package
from edgecritic.fit.parts import Probe
from edgecritic.fit.process import give_back_what_is_freed, peak, resident
from edgecritic.fit.stand_in import StandIn
from edgecritic.fit.stand_in_graph import NARROW

_N_CTX: Final = 1024
_REPACKED: Final = re.compile(r"REPACK model buffer size = +([\d.]+) MiB")


def probe_llamacpp(path: Path, shape: StandIn, threads: int, package: Package) -> Probe:
    """llama.cpp with a stand-in."""
    from edgecritic.backends.llamacpp import LlamaCppBackend
    from edgecritic.backends.llamacpp.native import load_native
    from edgecritic.backends.options import EngineOptions

    _import_the_rest()
    load_native(package)
    base, heard = resident(), _Heard()
    logger = logging.getLogger("edgecritic.engine")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(heard)
    options = EngineOptions(n_ctx=_N_CTX, n_threads=threads, device="cpu")
    engine = LlamaCppBackend(path, options=options, package=package)
    cache = 2 * 2 * shape.n_layers * shape.n_embd * engine.info.n_ctx  # keys, values; F16
    logits = 4 * shape.n_vocab * options.max_sequences
    words = resident() - base - path.stat().st_size - heard.repacked - cache - logits
    engine.close()
    whole = 1 + heard.repacked / shape.matrix_bytes
    return Probe(base, max(0, words) / shape.n_vocab, whole, whole)


def probe_onnx(path: Path, tokenizer: Path, n_words: int, small: Path, threads: int) -> Probe:
    """ONNX Runtime with the products of one kind.

    Args:
        path: what `write_products` wrote.
        tokenizer: what `write_vocabulary` wrote.
        n_words: in it.
        small: another model, for what the first one of a process costs.
        threads: of computation.
    """
    from tokenizers import Tokenizer

    from edgecritic.backends.onnx import OnnxBackend
    from edgecritic.backends.onnx.runtime import CPU, Session, load_runtime

    _import_the_rest()
    give_back_what_is_freed()
    runtime, _backend = load_runtime(), OnnxBackend
    first = Session(runtime, small, provider=CPU, n_threads=threads)
    first.run({"x": np.zeros((1, NARROW), dtype=np.float32)})
    base = resident() - small.stat().st_size
    kept = Tokenizer.from_file(str(tokenizer))
    word = (resident() - base - small.stat().st_size) / n_words
    # The first one fills what earlier steps left free.
    filling = Session(runtime, path, provider=CPU, n_threads=threads)
    before, stored = resident(), path.stat().st_size
    session = Session(runtime, path, provider=CPU, n_threads=threads)
    loaded, most = resident() - before, peak() - before
    del kept, filling, session
    return Probe(base, max(0.0, word), loaded / stored, max(most, loaded) / stored)


def _import_the_rest() -> None:
    """What a critic loads besides its engine."""
    import edgecritic.critic  # noqa: F401 - what it takes is measured


class _Heard(logging.Handler):
    """Listens for weights that the engine lays out a second time."""

    repacked = 0

    def emit(self, record: logging.LogRecord) -> None:
        if found := _REPACKED.search(record.getMessage()):
            self.repacked += int(float(found[1]) * 2**20)
