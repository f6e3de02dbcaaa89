"""Verdicts of a model that is being trained, read by the runtime's own code.

The prompts are the runtime's, the probabilities come from its outcome trie, and both orders of a
pair are reconciled as it does. What is different is only how the logits are computed: here by the
transformers model in memory, adapter included, many prompts at once. Prompts about the same
pictures stand behind one prefix, see `edgecritic_train.tuning.branches`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from edgecritic.errors import InputError
from edgecritic.judging.results import pointwise_verdict, preference
from edgecritic.manifest import Calibration
from edgecritic.prompts import render
from edgecritic.scoring import OutcomeTrie
from edgecritic.task import Task
from edgecritic.verdict import Preference, Verdict
from edgecritic_train.critic_data.rows import CriticRow
from edgecritic_train.tuning.base import Base
from edgecritic_train.tuning.branches import PADDING, PREFIX, gathered
from edgecritic_train.tuning.collate import UNIT, model_inputs, padded
from edgecritic_train.tuning.examples import (
    ExampleMaker,
    IntArray,
    front_of,
    look_at,
    naming,
    picture_size,
)

LogProbs: TypeAlias = NDArray[np.float64]
Node: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A held-out row and what the model says of it."""

    row: CriticRow
    found: Verdict | Preference


@dataclass(frozen=True, slots=True)
class Room:
    """How much is judged at once.

    Attributes:
        sequences: of a batch.
        tokens: of a sequence; a single prompt may have more.
    """

    sequences: int = 1
    tokens: int = 1024


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A prompt.

    Attributes:
        number: among all.
        row: that it is about.
        trie: of its verdicts.
        tokens: (n,) ids of the prompt and of what is forced behind it.
        front: how many of them end with its last picture; 0 where no other prompt may share them.
    """

    number: int
    row: CriticRow
    trie: OutcomeTrie
    tokens: IntArray
    front: int

    @property
    def key(self) -> tuple[bytes, str]:
        """The same for prompts that begin alike, pictures included."""
        return self.tokens[: self.front].tobytes(), str(self.row.image_sources)

    @property
    def n_tokens(self) -> int:
        """Of a sequence of its own."""
        return self.front + sum(len(branch.tokens) - self.front for branch in self.branches)

    @property
    def branches(self) -> list[_Branch]:
        """Runs of tokens behind which, and inside of which, all nodes of the trie stand."""
        return [
            _Branch(self, node, np.array([*self.tokens, *node], dtype=np.int64))
            for node in _longest(self.trie.nodes)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class _Branch:
    asked: _Asked
    node: Node
    tokens: IntArray


class VerdictReader:
    """Reads verdicts off a model.

    Args:
        model: in evaluation mode while it reads; without its adapter's wrapping.
        base: that it was loaded from.
        maker: lays prompts out.
        dtype: of the vision tower.
        room: how much is judged at once.
    """

    def __init__(
        self, model: Any, base: Base, maker: ExampleMaker, dtype: torch.dtype, room: Room
    ) -> None:
        self._model = model
        self._base = base
        self._maker = maker
        self._dtype = dtype
        self._room = room
        # Its kernels take no mask of a shared prefix.
        self._shares = model.config._attn_implementation != "flash_attention_2"

    @torch.no_grad()
    def judge(self, rows: Sequence[CriticRow]) -> list[Judgement]:
        """Judge rows; pairs in both orders.

        Raises:
            InputError: the dialect reasons first: its verdicts stand behind generated text.
            ImageError: a picture cannot be used; the message names the row.
        """
        if self._maker.dialect.reason_first:
            raise InputError(
                f"the dialect {self._maker.dialect.name} reasons before its verdict",
                "leave data.validation out, and judge the exported critic with edgecritic bench",
            )
        tasks = [(row, task) for row in rows for task in _orders(row)]
        asked = [self._asked(number, row, task) for number, (row, task) in enumerate(tasks)]
        joints = iter(self._joints(asked))
        return [_judgement(row, [next(joints) for _ in _orders(row)]) for row in rows]

    def _asked(self, number: int, row: CriticRow, task: Task) -> _Asked:
        prompt = render(task, self._maker.dialect, row.wording)
        trie = self._maker.trie(prompt.answers)
        with naming(row):
            sizes = [picture_size(ref) for ref in row.images]
            laid = [*self._maker.prompt(prompt, sizes), *trie.forced]
        tokens = np.array(laid, dtype=np.int64)
        front = front_of(tokens, self._base.folder.image_token) if self._shares else 0
        return _Asked(number, row, trie, tokens, front)

    def _joints(self, asked: Sequence[_Asked]) -> list[LogProbs]:
        """(n_outcomes,) joint log-probabilities of each prompt's verdicts."""
        lengths, fronts = [one.n_tokens for one in asked], [one.front for one in asked]
        packs = gathered([one.key for one in asked], lengths, fronts, self._room.tokens)
        packs.sort(key=lambda pack: sum(lengths[k] - fronts[k] for k in pack) + fronts[pack[0]])
        joints: dict[int, LogProbs] = {}
        for some in _batches(packs, self._room.sequences):
            together = [[asked[number] for number in pack] for pack in some]
            logits: dict[tuple[int, Node], NDArray[np.float32]] = {}
            for sequences in _batches(self._sequences(together), self._room.sequences):
                logits |= self._node_logits(sequences)
            for one in (one for pack in together for one in pack):
                rows = [logits[one.number, node] for node in one.trie.nodes]
                joints[one.number] = one.trie.log_probs(rows)
        return [joints[one.number] for one in asked]

    def _sequences(self, packs: Sequence[Sequence[_Asked]]) -> list[list[_Branch]]:
        found = [[branch for one in pack for branch in one.branches] for pack in packs]
        return found if self._shares else [[branch] for pack in found for branch in pack]

    def _node_logits(
        self, sequences: Sequence[Sequence[_Branch]]
    ) -> dict[tuple[int, Node], NDArray[np.float32]]:
        """The (n_vocab,) row behind each node of the prompts' tries."""
        tokens, branches, places = [], [], {}
        for number, sequence in enumerate(sequences):
            front = sequence[0].asked.front if len(sequence) > 1 else 0
            laid, marks = [sequence[0].tokens[:front]], [np.full(front, PREFIX, dtype=np.int64)]
            for mark, branch in enumerate(sequence, start=1):
                laid.append(branch.tokens[front:])
                marks.append(np.full(len(laid[-1]), mark if front else PREFIX, dtype=np.int64))
                end = sum(map(len, laid)) - len(branch.node) - 1
                for k in range(len(branch.node) + 1):
                    places[branch.asked.number, branch.node[:k]] = (number, end + k)
            tokens.append(np.concatenate(laid))
            branches.append(np.concatenate(marks))
        hidden = self._hidden(sequences, padded(tokens, 0, UNIT), padded(branches, PADDING, UNIT))
        where = torch.tensor(list(places.values()), device=hidden.device)
        found = self._model.get_output_embeddings()(hidden[where[:, 0], where[:, 1]])
        return dict(zip(places, found.float().cpu().numpy(), strict=True))

    def _hidden(
        self,
        sequences: Sequence[Sequence[_Branch]],
        tokens: torch.Tensor,
        branches: torch.Tensor,
    ) -> torch.Tensor:
        """(n, length, d) what the head is given."""
        pictures = [look_at(one[0].asked.row, self._base.eye).pictures for one in sequences]
        device = self._model.device
        batch: dict[str, torch.Tensor] = {"input_ids": tokens.to(device)}
        if bool((branches > PREFIX).any()):
            batch["branches"] = branches.to(device)
        else:
            batch["attention_mask"] = (branches != PADDING).long().to(device)
        inputs = model_inputs(self._base, self._model, batch, pictures, self._dtype)
        hidden: torch.Tensor = self._model.model(**inputs, use_cache=False).last_hidden_state
        return hidden


def _orders(row: CriticRow) -> tuple[Task, ...]:
    return (row.task,) if row.setting == "pointwise" else (row.task, row.task.swapped())


def _judgement(row: CriticRow, joints: Sequence[LogProbs]) -> Judgement:
    if row.setting == "pointwise":
        return Judgement(row, pointwise_verdict(joints[0], row.rubric.range, Calibration()))
    first, second = joints
    return Judgement(row, preference({"first": first, "second": second}, Calibration()))


def _longest(nodes: Sequence[Node]) -> list[Node]:
    """The nodes that no other one goes on from."""
    return [node for node in nodes if not any(o != node and o[: len(node)] == node for o in nodes)]


def _batches(found: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (found[k : k + size] for k in range(0, len(found), size))
