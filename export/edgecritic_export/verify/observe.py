"""What an engine says about rows: features, logits, verdicts, on both pictures of each row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecritic.backends.base import Append, Backend, FloatArray, Span, TextSpan
from edgecritic.judging.layout import LaidPrompt, Layout
from edgecritic.judging.reading import read_verdicts
from edgecritic.pictures import PictureEncoder
from edgecritic.profile import CriticProfile
from edgecritic.task import Task
from edgecritic_export.verify.rows import Row

LogProbs = NDArray[np.float64]
POSITIONS = 16
"""Tokens of the answer behind which a row of logits is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One row as one engine sees it.

    Attributes:
        tokens: ids of the prompt without its pictures, for telling apart what was asked.
        features: (n_tokens, n_embd) the picture's packed features.
        logits: (positions, n_vocab) behind the prompt and behind the answer's first tokens.
        verdict: (3,) log-probabilities of first, second, tie.
        other: (3,) the same on the row's other picture.
    """

    tokens: tuple[int, ...]
    features: FloatArray
    logits: FloatArray
    verdict: LogProbs
    other: LogProbs


def observe(
    backend: Backend,
    profile: CriticProfile,
    rows: Iterable[Row],
    progress: Callable[[int], None] = lambda done: None,
) -> list[Observation]:
    """Let an engine see the rows.

    Args:
        backend: with no sequences open.
        profile: of the critic that the backend runs.
        rows: what to judge.
        progress: is told how many rows are done.

    Raises:
        CriticError: a picture cannot be used, or a row does not fit the context.
    """
    encoder, layout = PictureEncoder(backend, profile.vision), Layout(backend, profile.dialect)
    seen = []
    for row in rows:
        task = Task(row.question, row.responses, 1)
        laid, other = (
            layout.lay(task, encoder.spans(picture), 0) for picture in (row.picture, row.other)
        )
        verdict, elsewhere = (
            read_verdicts(backend, [prompt]).joints[0] for prompt in (laid, other)
        )
        seen.append(
            Observation(
                tokens=tuple(t for s in laid.spans if isinstance(s, TextSpan) for t in s.tokens),
                features=encoder.spans(row.picture)[0].features,
                logits=_logits(backend, layout, laid, row.reason),
                verdict=verdict,
                other=elsewhere,
            )
        )
        progress(len(seen))
    return seen


def _logits(backend: Backend, layout: Layout, laid: LaidPrompt, reason: str) -> FloatArray:
    """(positions, n_vocab): token by token along the first outcome and a reason."""
    answer = (*laid.answers.tokens[0], *layout.text(f" {reason}").tokens)[:POSITIONS]
    steps: list[tuple[Span, ...]] = [laid.spans, *((TextSpan((token,)),) for token in answer)]
    sequence = backend.open_sequence()
    try:
        rows = [backend.append([Append(sequence, spans)])[0] for spans in steps]
    finally:
        backend.close_sequence(sequence)
    return np.stack([row for row in rows if row is not None])
