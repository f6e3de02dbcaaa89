"""Verdicts of a model that is being trained, read by the runtime's own code.

The prompts are the runtime's, the probabilities come from its outcome trie, and both orders of a
pair are reconciled as it does. What is different is only how the logits are computed: here by the
transformers model in memory, adapter included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgecritic.errors import InputError
from edgecritic.judging.results import Shown as Order
from edgecritic.judging.results import pointwise_verdict, preference
from edgecritic.manifest import Calibration
from edgecritic.prompts import render
from edgecritic.scoring import OutcomeTrie
from edgecritic.task import Task
from edgecritic.verdict import Preference, Verdict
from edgecritic.vision import load_image
from edgecritic_train.critic_data.rows import CriticRow
from edgecritic_train.tuning.base import Base
from edgecritic_train.tuning.examples import ExampleMaker
from edgecritic_train.tuning.families import Picture, Size

LogProbs = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A held-out row and what the model says of it."""

    row: CriticRow
    found: Verdict | Preference


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    sources: list[Path | bytes]
    pictures: tuple[Picture, ...]
    sizes: tuple[Size, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """The prompt that was computed last, and its keys and values."""

    tokens: Sequence[int]
    pictures: Sequence[Picture]
    past: Any


class VerdictReader:
    """Reads verdicts off a model.

    The last prompt's keys and values are kept: the other order of a pair, and the next row if it is
    about the same pictures, compute what differs. So judge rows of the same pictures one after
    another, and give the reader up once the weights change.

    Args:
        model: in evaluation mode while it reads.
        base: that it was loaded from.
        maker: lays prompts out.
        dtype: of the vision tower.
    """

    def __init__(self, model: Any, base: Base, maker: ExampleMaker, dtype: torch.dtype) -> None:
        self._model = model
        self._base = base
        self._maker = maker
        self._dtype = dtype
        self._seen: _Seen | None = None
        self._read: _Read | None = None

    @torch.no_grad()
    def judge(self, row: CriticRow) -> Judgement:
        """Judge a row; a pair in both orders.

        Raises:
            InputError: the dialect reasons first: its verdicts stand behind generated text.
        """
        if self._maker.dialect.reason_first:
            raise InputError(
                f"the dialect {self._maker.dialect.name} reasons before its verdict",
                "leave data.validation out, and judge the exported critic with edgecritic bench",
            )
        seen = self._look(row.image_sources)
        if row.setting == "pointwise":
            joint = self._joint(row.task, row.wording, seen)
            levels = row.rubric.range
            return Judgement(row, pointwise_verdict(joint, levels, Calibration()))
        joints: dict[Order, LogProbs] = {
            "first": self._joint(row.task, row.wording, seen),
            "second": self._joint(row.task.swapped(), row.wording, seen),
        }
        return Judgement(row, preference(joints, Calibration()))

    def _look(self, sources: list[Path | bytes]) -> _Seen:
        if self._seen is None or self._seen.sources != sources:
            images = [load_image(source) for source in sources]
            single = len(images) > 1
            self._seen = _Seen(
                sources,
                tuple(self._base.eye.look(image, single=single) for image in images),
                tuple((image.height, image.width) for image in images),
            )
        return self._seen

    def _joint(self, task: Task, wording: int, seen: _Seen) -> LogProbs:
        """(n_outcomes,) joint log-probabilities of a prompt's verdicts."""
        prompt = render(task, self._maker.dialect, wording)
        trie = self._maker.trie(prompt.answers)
        tokens = [*self._maker.prompt(prompt, seen.sizes), *trie.forced]
        return trie.log_probs(self._node_logits(tokens, seen.pictures, trie))

    def _node_logits(
        self, tokens: Sequence[int], pictures: Sequence[Picture], trie: OutcomeTrie
    ) -> list[NDArray[np.float32]]:
        """The (n_vocab,) row behind each of the trie's nodes; the prompt is computed once."""
        model, device = self._model, self._model.device
        whole = torch.tensor([tokens], device=device)
        inputs = self._base.eye.inputs([pictures], whole, self._dtype)
        positions = self._base.eye.positions(model, whole, inputs)
        behind = int(positions.max()) + 1
        known, past = self._known(tokens, pictures)
        found = model(
            input_ids=whole[:, known:],
            position_ids=positions[..., known:],
            past_key_values=past,
            use_cache=True,
            logits_to_keep=1,
            **({} if known else inputs),
        )
        past = found.past_key_values
        self._read = _Read(tokens, pictures, past)
        rows = []
        for node in trie.nodes:
            if not node:
                rows.append(_row(found.logits))
                continue
            ahead = torch.arange(behind, behind + len(node), device=device)
            extended = model(
                input_ids=torch.tensor([node], device=device),
                position_ids=ahead.expand(*positions.shape[:-1], len(node)),
                past_key_values=past,
                use_cache=True,
                logits_to_keep=1,
            )
            rows.append(_row(extended.logits))
            past.crop(-len(node))
        return rows

    def _known(self, tokens: Sequence[int], pictures: Sequence[Picture]) -> tuple[int, Any]:
        """How many leading tokens need not be computed, and their keys and values.

        They reach behind the pictures or are none: pictures are computed whole.
        """
        read, self._read = self._read, None
        if read is None or read.pictures is not pictures:
            return 0, None
        equal = (one == other for one, other in zip(tokens, read.tokens, strict=False))
        known = sum(1 for _ in takewhile(bool, equal))
        known = min(known, len(tokens) - 1)
        if self._base.folder.image_token in tokens[known:]:
            return 0, None
        if excess := len(read.tokens) - known:
            read.past.crop(-excess)
        return known, read.past


def _row(logits: torch.Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = logits[0, -1].float().cpu().numpy()
    return found
