"""Where llama.cpp's log-probabilities depend on what else is computed: one prompt, many ways.

    python scripts/measure_batch_noise.py [--types Q4_1,Q8_0,Q4_K_M,F16] [--threads 1]

The same tokens are decoded alone in one batch, and then in other batches, with company, and behind
other sequences in the cache. A line says for each way whether the logits have the same bits, and
how far the log-probabilities of the likely tokens are from those of the first way. The language
model is the embedded critic's, without its adapter, and requantized where another type is asked
for.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

from edgecritic import Bundle
from edgecritic.backends.base import Append, FloatArray, TextSpan
from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.scoring import log_softmax

TEXT = (
    "Question: How many red circles are in the picture? Give the response a score from 1 to 10. "
    "Response: There are three red circles and one blue square, which stands left of them.\nScore: "
)
COMPANY = "Someone asked for the capital of a country, and the answer names a river instead. " * 2
FILE_TYPES = {"F16": 1, "Q4_1": 3, "Q8_0": 7, "Q4_K_M": 15}  # LLAMA_FTYPE_*
LIKELY = 1e-3
FLASH_TILE = 64
"""Rows from which on ggml's flash attention takes another path on a CPU."""

Way = Callable[[LlamaCppBackend, TextSpan, TextSpan], FloatArray]


def rows_of(backend: LlamaCppBackend, appends: list[Append]) -> list[FloatArray]:
    """The logits of appends that all ask for them."""
    return [row for row in backend.append(appends) if row is not None]


def alone(backend: LlamaCppBackend, prompt: TextSpan, company: TextSpan) -> FloatArray:
    """Decode in one batch of its own."""
    return in_parts(len(prompt))(backend, prompt, company)


def in_parts(*ends: int) -> Way:
    """Decode up to each of these tokens in a batch of its own, negative ones from the end."""

    def decode(backend: LlamaCppBackend, prompt: TextSpan, _company: TextSpan) -> FloatArray:
        sequence = backend.open_sequence()
        start, row = 0, np.zeros(0, dtype=np.float32)
        for end in (end if end > 0 else len(prompt) + end for end in (*ends, len(prompt))):
            if end > start:
                span = TextSpan(prompt.tokens[start:end])
                row = rows_of(backend, [Append(sequence, (span,))])[0]
                start = end
        backend.close_sequence(sequence)
        return row

    return decode


def with_company(*, first: bool) -> Way:
    """Decode in one batch with another prompt, which stands in front or behind."""

    def decode(backend: LlamaCppBackend, prompt: TextSpan, company: TextSpan) -> FloatArray:
        ours, theirs = backend.open_sequence(), backend.open_sequence()
        appends = [Append(ours, (prompt,)), Append(theirs, (company,))]
        rows = rows_of(backend, appends[::-1] if first else appends)
        for sequence in (ours, theirs):
            backend.close_sequence(sequence)
        return rows[1 if first else 0]

    return decode


def behind_others(backend: LlamaCppBackend, prompt: TextSpan, company: TextSpan) -> FloatArray:
    """Decode alone, while another sequence lies in the first cells of the cache."""
    other = backend.open_sequence()
    backend.append([Append(other, (company,), logits=False)])
    row = alone(backend, prompt, company)
    backend.close_sequence(other)
    return row


def after_others(backend: LlamaCppBackend, prompt: TextSpan, company: TextSpan) -> FloatArray:
    """Decode alone, in cells that another sequence left."""
    other = backend.open_sequence()
    backend.append([Append(other, (company,), logits=False)])
    backend.close_sequence(other)
    return alone(backend, prompt, company)


WAYS: dict[str, Way] = {
    "again": alone,
    "after others": after_others,
    "behind others": behind_others,
    "company in front": with_company(first=True),
    "company behind": with_company(first=False),
    "a little company": with_company(first=True),
    "all but 16, 16": in_parts(-16),
    "all but 7, 7": in_parts(-7),
    "all but 1, 1": in_parts(-1),
}


def requantized(source: Path, name: str, folder: Path) -> Path:
    """The model in another type, by llama.cpp's own quantizer."""
    llama = import_module("llama_cpp.llama_cpp")
    target = folder / f"{name}.gguf"
    params = llama.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[name]
    params.allow_requantize = True
    status = llama.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    if status != 0:
        raise SystemExit(f"llama.cpp does not make {name} of {source}")
    return target


SETTINGS: dict[str, tuple[bool, int]] = {
    "flash attention": (True, 512),
    "flash attention, 32 at once": (True, 32),
    "plain attention": (False, 512),
    "plain attention, 32 at once": (False, 32),
}
"""Attention, and the cells that llama.cpp computes at once."""


def lines(path: Path, setting: str, threads: int) -> Iterator[str]:
    """What one setting gives, a line for each way."""
    flash_attention, n_ubatch = SETTINGS[setting]
    options = EngineOptions(
        n_ctx=512, n_threads=threads, flash_attention=flash_attention, n_ubatch=n_ubatch
    )
    backend = LlamaCppBackend(path, options=options)
    prompt, company = (TextSpan(tuple(backend.tokenize(text))) for text in (TEXT, COMPANY))
    few = TextSpan(company.tokens[: FLASH_TILE - 1 - len(prompt)])
    reference = alone(backend, prompt, company)
    known = log_softmax(reference)
    likely = np.exp(known) > LIKELY
    for name, way in WAYS.items():
        row = way(backend, prompt, few if name == "a little company" else company)
        same = np.array_equal(row, reference)
        difference = float(np.abs(log_softmax(row) - known)[likely].max())
        yield f"{name:17} | {'same bits' if same else f'{difference:.4f} nat'}"
    backend.close()


def main() -> None:
    """Decode, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--types", default="Q4_1,Q8_0,Q4_K_M,F16")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    source = Bundle.embedded().file("language_model")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.types.split(","):
            path = source if name == "Q4_1" else requantized(source, name, Path(folder))
            for setting in SETTINGS:
                for line in lines(path, setting, args.threads):
                    sys.stdout.write(f"{name:6} | {setting:27} | {line}\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
