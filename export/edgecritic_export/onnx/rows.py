"""What a decoder is calibrated on: prompts with their pictures, as the arrays it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgecritic.backends.base import FloatArray, ImageSpan, Span
from edgecritic.errors import InputError
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.checkpoints.tensors import widened


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedRow:
    """One judgement as the decoder reads it.

    Attributes:
        embeddings: (n_tokens, n_embd) float32: token embeddings and packed picture features.
        positions: behind which the next token matters, ascending; at least one.
    """

    embeddings: FloatArray
    positions: tuple[int, ...]


def embedded_row(checkpoint: Checkpoint, spans: Sequence[Span], answer_length: int) -> EmbeddedRow:
    """Embed a judgement; what matters are the positions that its answer is read from.

    Args:
        checkpoint: holds the token embeddings.
        spans: prompt, pictures and answer.
        answer_length: tokens of the answer at the end, at least one.

    Raises:
        InputError: there is no answer behind a prompt.
    """
    n_tokens = sum(map(len, spans))
    if not 0 < answer_length < n_tokens:
        raise InputError(
            f"an answer of {answer_length} tokens in a row of {n_tokens} cannot be calibrated on",
            "give the prompt and the answer",
        )
    stored = checkpoint.language_tensors()["model.embed_tokens.weight"]
    dtype, table = checkpoint.store.read_raw(stored)
    parts = [
        span.features if isinstance(span, ImageSpan) else widened(dtype, table[list(span.tokens)])
        for span in spans
    ]
    first = n_tokens - answer_length - 1
    return EmbeddedRow(np.concatenate(parts), tuple(range(first, n_tokens - 1)))
