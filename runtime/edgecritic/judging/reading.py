"""Prompts to their verdicts' log-probabilities, by one walk over the tree of all rows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgecritic.backends.base import Backend, CancelToken, FloatArray, TextSpan
from edgecritic.judging.generation import Generated, Sampling, generate
from edgecritic.judging.layout import LaidPrompt, Layout
from edgecritic.judging.sharing import Beginning
from edgecritic.judging.trie import decode_rows


@dataclass(frozen=True, slots=True)
class Readings:
    """What several prompts' verdicts are.

    Attributes:
        joints: per prompt the (n_outcomes,) joint log-probabilities.
        decoded: cells decoded.
        kept: the open sequence of the prompt that was to be kept, the answer's lead-in included.
    """

    joints: tuple[NDArray[np.float64], ...]
    decoded: int
    kept: int | None


class _Collector:
    """Gathers rows of logits; drops them as soon as a prompt's verdict can be computed."""

    def __init__(self, prompts: Sequence[LaidPrompt]) -> None:
        self._prompts = prompts
        self._places = [
            (index, node)
            for index, prompt in enumerate(prompts)
            for node in range(len(prompt.answers.outcomes.nodes))
        ]
        self._rows: list[dict[int, FloatArray]] = [{} for _ in prompts]
        self.joints: dict[int, NDArray[np.float64]] = {}

    def __call__(self, row: int, logits: FloatArray) -> None:
        index, node = self._places[row]
        rows, outcomes = self._rows[index], self._prompts[index].answers.outcomes
        rows[node] = logits
        if len(rows) == len(outcomes.nodes):
            self.joints[index] = outcomes.log_probs([rows[k] for k in range(len(rows))])
            rows.clear()


def read_verdicts(
    backend: Backend,
    prompts: Sequence[LaidPrompt],
    *,
    keep: int | None = None,
    beginning: Beginning | None = None,
    cancel: CancelToken | None = None,
) -> Readings:
    """Read all verdicts at once; what the prompts share is decoded once.

    Args:
        backend: has no sequences open but `beginning`.
        prompts: at least one.
        keep: the prompt whose sequence stays open for a rationale; room for it is made sure of.
        beginning: what the prompts share, where that is decoded already.
        cancel: stops the decoding.

    Raises:
        ContextOverflowError: a prompt does not fit; nothing was decoded.
        Cancelled: `cancel` was set.
    """
    collector = _Collector(prompts)
    per_prompt = [prompt.verdict_rows for prompt in prompts]
    # The rationale needs the rest of the stated answer, and one cell for itself.
    answers = None if keep is None else prompts[keep].answers
    reserve = 0 if answers is None else answers.longest - len(answers.outcomes.forced) + 1
    decoded = decode_rows(
        backend,
        [row if beginning is None else beginning.rest(row) for rows in per_prompt for row in rows],
        collector,
        base=None if beginning is None else beginning.sequence,
        keep=None if keep is None else sum(map(len, per_prompt[:keep])),
        reserve=reserve,
        cancel=cancel,
    )
    joints = tuple(collector.joints[index] for index in range(len(prompts)))
    return Readings(joints, decoded.cells, decoded.kept)


@dataclass(frozen=True, slots=True)
class Reasoned:
    """A verdict that was read behind its reason.

    Attributes:
        joint: (n_outcomes,) joint log-probabilities; None when cancelled during the reason.
        reason: the generated text.
        decoded: cells decoded, those generated one by one not counted.
    """

    joint: NDArray[np.float64] | None
    reason: Generated
    decoded: int


def read_after_reason(
    backend: Backend,
    layout: Layout,
    prompt: LaidPrompt,
    sampling: Sampling,
    cancel: CancelToken | None = None,
) -> Generator[str, None, Reasoned]:
    """Generate the reason up to the answer's lead-in, then read the verdict behind it.

    The reason is tokenized again as a whole, as it stood in training; it may have ended anywhere
    inside a token.

    Raises:
        ContextOverflowError: prompt, reason and answer do not fit.
        Cancelled: `cancel` was set while the prompt or the verdict was decoded.
    """
    last: dict[int, FloatArray] = {}
    asked = decode_rows(
        backend,
        [prompt.spans],
        last.__setitem__,
        keep=0,
        reserve=prompt.answers.longest,
        cancel=cancel,
    )
    kept = cast(int, asked.kept)
    try:
        reason = yield from _reason(
            backend, layout, prompt, asked=kept, logits=last[0], sampling=sampling, cancel=cancel
        )
        if reason.ended == "cancelled":
            return Reasoned(None, reason, asked.cells)
        collector = _Collector([prompt])
        text = layout.text(reason.text)
        answered = decode_rows(
            backend,
            [(text, TextSpan(tokens)) for tokens in prompt.answer_rows],
            collector,
            base=kept,
            cancel=cancel,
        )
    finally:
        backend.close_sequence(kept)
    return Reasoned(collector.joints[0], reason, asked.cells + answered.cells)


def _reason(
    backend: Backend,
    layout: Layout,
    prompt: LaidPrompt,
    *,
    asked: int,
    logits: FloatArray,
    sampling: Sampling,
    cancel: CancelToken | None,
) -> Generator[str, None, Generated]:
    """The reason, generated on a fork, so that `asked` still ends with the prompt."""
    room = backend.info.n_ctx - backend.length(asked) - prompt.answers.longest
    thinking = backend.fork(asked)
    try:
        return (
            yield from generate(
                backend,
                thinking,
                logits,
                replace(sampling, max_tokens=min(sampling.max_tokens, room)),
                stops=(layout.lead_in(prompt.prompt.setting),),
                end_tokens=layout.end_tokens,
                cancel=cancel,
            )
        )
    finally:
        backend.close_sequence(thinking)
