"""Memory of a GGUF critic: computed from headers, checked against what the engine says it takes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.fit.gguf import GgufFiles, LanguageModelShape, gguf_costs
from edgecritic.fit.parts import Probe
from edgecritic.fit.stand_in import StandIn, write_stand_in
from edgecritic.fit.workload import Workload
from edgecritic.gguf_header import read_header

NOTHING = Probe(base=0, word=0.0, resident=1.0, loading=1.0)
_BUFFER = re.compile(r"(KV|compute|Mapped model|output) buffer size = +([\d.]+) MiB")


@contextmanager
def heard() -> Iterator[dict[str, float]]:
    """MiB of the engine's buffers by kind, as it logs them."""
    found: dict[str, float] = {}

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if match := _BUFFER.search(record.getMessage()):
                found[match[1]] = float(match[2])

    logger, handler = logging.getLogger("edgecritic.engine"), Handler()
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@pytest.mark.parametrize(
    ("shape", "n_ctx"),
    [
        (StandIn("F16", n_embd=256, n_ff=768, n_vocab=600), 512),
        (StandIn("Q8_0", n_embd=512, n_ff=1536, n_layers=3, n_vocab=600), 1000),
        (StandIn("Q4_K", n_embd=256, n_ff=1280, n_vocab=900), 4096),
    ],
)
def test_buffers_are_those_that_the_engine_takes(
    tmp_path: Path, shape: StandIn, n_ctx: int
) -> None:
    path = tmp_path / "model.gguf"
    write_stand_in(path, shape)
    options = EngineOptions(n_ctx=n_ctx, n_threads=1, device="cpu")
    workload = Workload(image_size=None)
    costs = gguf_costs(
        GgufFiles(path, None, ()), options, workload, workload.picture(None), lambda kind: NOTHING
    )
    with heard() as buffers:
        LlamaCppBackend(path, options=options).close()
    mib = {part: size / 2**20 for part, size in costs.ram.items()}
    assert mib["language model"] == pytest.approx(buffers["Mapped model"], abs=0.2)
    assert mib["keys and values"] == pytest.approx(buffers["KV"], abs=0.01)
    assert mib["computation"] == pytest.approx(buffers["compute"], rel=0.1)
    # What is not resident a second time is in no estimate a second time.
    assert costs.ram["weights rearranged for this CPU"] == 0


def test_a_stand_in_is_a_language_model(tmp_path: Path) -> None:
    shape = StandIn("Q4_K", n_embd=256, n_ff=512, n_layers=1, n_vocab=300)
    write_stand_in(tmp_path / "model.gguf", shape)
    header = read_header(tmp_path / "model.gguf")
    assert LanguageModelShape.of(header) == LanguageModelShape(1, 256, 512, 4, 4, 300)
    quantized = [claim.n_bytes for claim in header.tensors.values() if claim.type_name == "Q4_K"]
    assert sum(quantized) == shape.matrix_bytes
    assert shape.products == 4 * 256 * 256 + 3 * 256 * 512


def test_on_a_gpu_the_weights_are_not_counted_twice(tmp_path: Path) -> None:
    shape = StandIn("Q8_0", n_embd=256, n_ff=512, n_vocab=300)
    path = tmp_path / "model.gguf"
    write_stand_in(path, shape)
    workload, options = Workload(image_size=None), EngineOptions()
    costs = gguf_costs(
        GgufFiles(path, None, ()), options, workload, workload.picture(None),
        lambda kind: NOTHING, on_gpu=True,
    )  # fmt: skip
    assert costs.vram["language model"] == path.stat().st_size
    assert costs.ram["token embeddings"] == 2 * 256 * 300
    assert "keys and values" not in costs.ram
