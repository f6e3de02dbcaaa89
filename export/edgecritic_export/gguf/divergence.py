"""How far a quantized language model's next-token distributions are from another's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecritic.backends.base import FloatArray, ImageSpan, Span
from edgecritic_export.gguf.calibration import CalibrationRow
from edgecritic_export.gguf.forward import ForwardOptions, ForwardPass


@dataclass(frozen=True, slots=True)
class Divergence:
    """A comparison over rows, in nats per position.

    Attributes:
        rows: mean KL of each row, for comparing two models pair by pair.
        n_positions: positions of text in them; predictions at image features mean nothing.
        mean: mean KL(reference || model) over those.
        high: its 95th percentile.
        answers: mean KL over the positions that predict the answers.
        same_top: share of the positions at which both predict the same token.
    """

    rows: tuple[float, ...]
    n_positions: int
    mean: float
    high: float
    answers: float
    same_top: float


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What the better model predicts for one row.

    Attributes:
        row: the row.
        log_probs: (n, n_vocab) float16: at the row's positions of text.
    """

    row: CalibrationRow
    log_probs: np.ndarray[tuple[int, int], np.dtype[np.float16]]


def reference(
    model: Path, rows: Iterable[CalibrationRow], options: ForwardOptions | None = None
) -> list[Reference]:
    """Predictions of the model that others are compared with.

    They are held in half precision: log-probabilities above -16 are then off by 0.004 at most.

    Args:
        model: its GGUF.
        rows: what it reads.
        options: of the engine.
    """
    with ForwardPass(model, options) as forward:
        return [
            Reference(row, _text_log_probs(forward, row.spans).astype(np.float16)) for row in rows
        ]


def divergence(
    model: Path, references: Sequence[Reference], options: ForwardOptions | None = None
) -> Divergence:
    """Compare a model's predictions with the reference's, row by row.

    Args:
        model: GGUF with the same vocabulary.
        references: see `reference`.
        options: of the engine.
    """
    every: list[FloatArray] = []
    answers: list[FloatArray] = []
    same = 0
    with ForwardPass(model, options) as forward:
        for expected in references:
            found = _text_log_probs(forward, expected.row.spans)
            wanted = expected.log_probs.astype(np.float32)
            kl = np.maximum((np.exp(wanted) * (wanted - found)).sum(-1), 0)
            same += int((found.argmax(-1) == wanted.argmax(-1)).sum())
            every.append(kl)
            # The position before a token predicts it; behind the last nothing is said.
            answers.append(kl[-expected.row.answer_length - 1 : -1])
    joined, at_answers = np.concatenate(every), np.concatenate(answers)
    return Divergence(
        rows=tuple(float(kl.mean()) for kl in every),
        n_positions=joined.size,
        mean=float(joined.mean()),
        high=float(np.percentile(joined, 95)),
        answers=float(at_answers.mean()),
        same_top=same / joined.size,
    )


def _text_log_probs(forward: ForwardPass, row: Sequence[Span]) -> FloatArray:
    """(n, n_vocab) float32 at the row's positions of text."""
    is_text = np.concatenate([np.full(len(s), not isinstance(s, ImageSpan)) for s in row])
    kept, position = [], 0
    for logits in forward.logits(row):
        mask = is_text[position : position + len(logits)]
        position += len(logits)
        kept.append(_log_softmax(logits[mask]))
    return np.concatenate(kept)


def _log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))
    return np.asarray(shifted, dtype=np.float32)
