"""Preference pairs: the winner and the loser of a pairwise row, as answers to its question.

What a critic row compares are two answers of some model. For preference learning they are what the
policy may say, and its prompt is the question with the picture, not the critic's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from edgecritic.errors import InputError
from edgecritic.prompts import Control, Dialect, ImageSlot, Piece, Prompt, Text, load_dialect
from edgecritic_train.critic_data.rows import CriticRow
from edgecritic_train.tuning.base import Base
from edgecritic_train.tuning.collate import Shown, padded
from edgecritic_train.tuning.config import TuningConfig
from edgecritic_train.tuning.examples import (
    IGNORED,
    ExampleMaker,
    IntArray,
    Measure,
    look_at,
    naming,
    picture_size,
)
from edgecritic_train.tuning.families import Picture, Size
from edgecritic_train.tuning.prepare import Lesson, Prepared, Tell, prepare

SYSTEM: Final = "You are a helpful assistant."
"""What LLaVA-OneVision and Qwen2.5-VL were trained with."""
OPEN, CLOSE = "<|vision_start|>", "<|vision_end|>"
CHOSEN, REJECTED = 1, 2
"""Branches of a pair that shares its prefix; see `edgecritic_train.tuning.branches`."""


@dataclass(frozen=True, slots=True, eq=False)
class PairExample:
    """A pair to learn from.

    Attributes:
        row_id: of its row.
        prompt: ids up to the assistant's first word.
        chosen: ids of the better answer, with the turn's end.
        rejected: of the other.
        pictures: in the order of their tokens.
    """

    row_id: str
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    pictures: tuple[Picture, ...]


def policy_prompt(question: str, n_images: int, *, framed: bool) -> Prompt:
    """A question as a chat model is asked it.

    Args:
        question: its words never become control tokens.
        n_images: pictures in front of it.
        framed: as Qwen2.5-VL was trained: each picture between two control tokens, and the
            question right behind them; otherwise as LLaVA-OneVision was, on a line of its own.
    """
    pictures: list[Piece] = []
    for index in range(n_images):
        slot = ImageSlot(index)
        pictures += [Control(OPEN), slot, Control(CLOSE)] if framed else [slot]
    pieces: list[Piece] = [
        Control("<|im_start|>system\n"),
        Text(SYSTEM),
        Control("<|im_end|>\n<|im_start|>user\n"),
        *pictures,
        Text(question.strip() if framed or not n_images else f"\n{question.strip()}"),
        Control("<|im_end|>\n<|im_start|>assistant\n"),
    ]
    end = Control("<|im_end|>\n")
    return Prompt("pointwise", tuple(pieces), (), (), end, "policy")


class PairMaker:
    """Lays pairs out; see `edgecritic_train.tuning.prepare.Maker`.

    Args:
        maker: its tokenizer is used.
        base: looks at the pictures.
    """

    def __init__(self, maker: ExampleMaker, base: Base) -> None:
        self._maker = maker
        self._eye = base.eye

    @property
    def dialect(self) -> Dialect:
        """Of the rows' prompts, which pairs are not asked in."""
        return self._maker.dialect

    def make(self, row: CriticRow) -> PairExample:
        """A pair with its pictures.

        Raises:
            CriticError: a picture cannot be used; the message names the row.
        """
        with naming(row):
            seen = look_at(row, self._eye)
            prompt, chosen, rejected = self._laid(row, seen.sizes)
        return PairExample(row.id, prompt, chosen, rejected, seen.pictures)

    def measure(self, row: CriticRow) -> Measure:
        """Tokens of a pair whose answers share their prefix."""
        with naming(row):
            laid = self._laid(row, [picture_size(ref) for ref in row.images])
        return Measure(sum(map(len, laid)), beside=min(map(len, laid[1:])))

    def computed(self, row: CriticRow, *, shared: bool) -> int:
        """Tokens that a model computes for a pair, whose answers share their prefix or do not."""
        prompt, *answers = self._laid(row, [picture_size(ref) for ref in row.images])
        return (1 if shared else 2) * len(prompt) + sum(map(len, answers))

    def _laid(
        self, row: CriticRow, sizes: Sequence[Size]
    ) -> tuple[list[int], list[int], list[int]]:
        prompt = policy_prompt(row.question, len(sizes), framed=self._eye.framed)
        end = self._maker.text(prompt.end.text, control=True)[:1]
        first, second = ([*self._maker.text(text), *end] for text in row.responses)
        better, worse = (first, second) if row.verdict == "first" else (second, first)
        return self._maker.prompt(prompt, sizes), better, worse


class PairCollator:
    """Makes batches of pairs that a dataset names by their row's number.

    Args:
        rows: that the numbers count.
        maker: lays them out.
        pad: id behind shorter rows.
        shared: both answers stand in one row, behind one prompt.
    """

    def __init__(
        self, rows: Sequence[CriticRow], maker: PairMaker, pad: int, *, shared: bool
    ) -> None:
        self._rows, self._maker, self._pad, self._shared = rows, maker, pad, shared

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Batch of the rows that ``features[k]["rows"]`` names.

        Returns:
            With two rows a pair, as TRL has it: all chosen ones, then all rejected ones, in
            ``input_ids``, ``attention_mask``, ``completion_mask`` (2n, length). With a shared
            prefix (one pair): ``input_ids``, ``next_ids``, ``branches`` (1, length). And ``shown``.
        """
        numbers = [number for feature in features for number in feature["rows"]]
        examples = [self._maker.make(self._rows[number]) for number in numbers]
        return shared_prefix(examples[0]) if self._shared else two_rows(examples, self._pad)


def two_rows(examples: Sequence[PairExample], pad: int) -> dict[str, Any]:
    """``[prompt | chosen]`` and ``[prompt | rejected]``, each a row."""
    answers = [e.chosen for e in examples] + [e.rejected for e in examples]
    prompts = [e.prompt for e in examples] * 2
    tokens = padded([_array(p + a) for p, a in zip(prompts, answers, strict=True)], pad)
    lengths = torch.tensor([len(p) + len(a) for p, a in zip(prompts, answers, strict=True)])
    starts = torch.tensor([len(p) for p in prompts])
    places = torch.arange(tokens.shape[1])
    inside = places < lengths[:, None]
    return {
        "input_ids": tokens,
        "attention_mask": inside.long(),
        "completion_mask": (inside & (places >= starts[:, None])).long(),
        "shown": Shown(tuple(e.row_id for e in examples), tuple(e.pictures for e in examples) * 2),
    }


def shared_prefix(example: PairExample) -> dict[str, Any]:
    """``[prompt | chosen | rejected]`` in one row.

    The prompt's last token stands once in front of each answer, at the same position: what follows
    it is different, and a position predicts one token.
    """
    *shared, last = example.prompt
    tokens, following, branches = [*shared], [IGNORED] * len(shared), [0] * len(shared)
    for branch, answer in ((CHOSEN, example.chosen), (REJECTED, example.rejected)):
        tokens += [last, *answer[:-1]]
        following += answer
        branches += [branch] * len(answer)
    return {
        "input_ids": padded([_array(tokens)], 0),
        "next_ids": padded([_array(following)], IGNORED),
        "branches": padded([_array(branches)], 0),
        "shown": Shown((example.row_id,), (example.pictures,)),
    }


def prepare_pairs(config: TuningConfig, base: Base, tell: Tell) -> Prepared[PairMaker]:
    """The pairs of a run: pairwise rows with a winner, measured with their pictures.

    Raises:
        CriticError: as `edgecritic_train.tuning.prepare.prepare`, or the settings do not fit.
    """
    dpo, optimizer = config.dpo, config.optimizer
    if dpo.form == "shared_prefix" and optimizer.batch != 1:
        raise InputError(
            f"optimizer.batch is {optimizer.batch}, and dpo.form shared_prefix takes one pair",
            "set optimizer.batch to 1 and raise optimizer.accumulation instead",
        )
    if dpo.form == "shared_prefix" and config.base.attention == "flash_attention_2":
        raise InputError(
            "base.attention is flash_attention_2, which takes no mask of a shared prefix",
            "set base.attention to sdpa, or dpo.form to two_rows",
        )
    maker = PairMaker(ExampleMaker(base, load_dialect(config.data.dialect)), base)
    lesson = Lesson(maker, _decided, "pairs with a winner", base.folder.context)
    return prepare(config, lesson, tell)


def _decided(row: CriticRow) -> bool:
    return row.setting == "pairwise" and row.verdict != "tie"


def _array(tokens: Sequence[int]) -> IntArray:
    import numpy as np

    return np.array(tokens, dtype=np.int64)
