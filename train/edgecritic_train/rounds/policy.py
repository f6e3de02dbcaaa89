"""The policy: a base, perhaps with an adapter, that answers questions."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import TopPLogitsWarper

from edgecritic.backends.tokens import END_TOKEN_FILES, configured_ends
from edgecritic.hashing import file_sha256
from edgecritic.prompts import load_dialect
from edgecritic.vision import load_image
from edgecritic_train.rounds.config import RoundsConfig, policy_config
from edgecritic_train.rounds.entries import content_key
from edgecritic_train.rounds.questions import Question
from edgecritic_train.tuning.adapters import WEIGHTS, adapted
from edgecritic_train.tuning.arguments import without_renamings
from edgecritic_train.tuning.base import Base, compute_dtype, load_base, open_base
from edgecritic_train.tuning.config import TuningConfig
from edgecritic_train.tuning.examples import ExampleMaker, picture_size
from edgecritic_train.tuning.families import Size
from edgecritic_train.tuning.pairs import policy_prompt


@dataclass(frozen=True, slots=True)
class Drawing:
    """How tokens are drawn.

    Attributes:
        temperature: 0 takes the most probable token.
        top_p: mass of the most probable tokens that are drawn from.
        max_tokens: of an answer.
    """

    temperature: float
    top_p: float
    max_tokens: int

    @property
    def facts(self) -> list[float]:
        return [self.temperature, self.top_p, self.max_tokens]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the policy said.

    Attributes:
        text: without blanks around it.
        tokens: of it, the end of the turn included.
        ended: before the limit.
    """

    text: str
    tokens: int
    ended: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Context:
    """Prompts that were computed, a row for each.

    Attributes:
        logits: (n, vocab) behind them.
        past: their keys and values.
        places: (..., n) next positions.
        mask: (n, length), 0 where padding stands; None without any.
    """

    logits: torch.Tensor
    past: Any
    places: torch.Tensor
    mask: torch.Tensor | None

    def of(self, rows: torch.Tensor) -> _Context:
        """Some of the rows, in any order and as often as they are named; the cache moves there."""
        self.past.batch_select_indices(rows)
        mask = None if self.mask is None else self.mask[rows]
        return _Context(self.logits[rows], self.past, self.places[..., rows], mask)


class Policy:
    """A loaded policy.

    Args:
        model: in evaluation mode, its adapter inside.
        base: that it was loaded from.
        dtype: of the computation.
    """

    def __init__(self, model: Any, base: Base, dtype: torch.dtype) -> None:
        self._model, self._base, self._dtype = model, base, dtype
        self._maker = ExampleMaker(base, load_dialect(dialect_of(base)))
        tokenizer, path = base.folder.tokenizer, base.folder.path
        ends = tokenizer.end_tokens(configured_ends(path / name for name in END_TOKEN_FILES))
        self._ends = frozenset(ends)
        rows = model.get_output_embeddings().weight.shape[0]
        # Control tokens inside an answer would be gone when it is read as text.
        self._banned = torch.tensor(
            [t for t in range(rows) if not tokenizer.bytes_of(t) and t not in ends],
            dtype=torch.long,
            device=model.device,
        )

    @property
    def context(self) -> int | None:
        """Positions that the base was made for; None where it does not say."""
        return self._base.folder.context

    @torch.no_grad()
    def answers(
        self, questions: Sequence[Question], drawing: Drawing, seeds: Sequence[Sequence[int]]
    ) -> list[list[Answer]]:
        """An answer for each seed; each prompt with its pictures is computed once.

        An answer depends on its own seed, not on the others that are drawn beside it.

        Args:
            questions: of any lengths and pictures; shorter prompts are padded.
            drawing: of tokens.
            seeds: of each question's answers.

        Raises:
            CriticError: a picture cannot be used.
        """
        device = self._model.device
        asked = [k for k, own in enumerate(seeds) for _ in own]
        with torch.autocast(device.type, self._dtype, enabled=self._dtype != torch.float32):
            context = self._asked(questions).of(torch.tensor(asked, device=device))
            drawn = self._drawn(context, drawing, [seed for own in seeds for seed in own])
        found = iter([self._answer(row) for row in drawn])
        return [[next(found) for _ in own] for own in seeds]

    def prompt_tokens(self, question: Question) -> int:
        """Tokens of its prompt; of its pictures, only the headers are read.

        Raises:
            CriticError: a picture cannot be used.
        """
        return len(self._prompt(question, [picture_size(ref) for ref in question.images]))

    def _prompt(self, question: Question, sizes: Sequence[Size]) -> list[int]:
        prompt = policy_prompt(question.text, len(sizes), framed=self._base.eye.framed)
        return self._maker.prompt(prompt, sizes)

    def _asked(self, questions: Sequence[Question]) -> _Context:
        """Computes the prompts, a row for each; padding stands in front."""
        eye, model = self._base.eye, self._model
        pictures, tokens = [], []
        for question in questions:
            images = [load_image(source) for source in question.image_sources]
            pictures.append(tuple(eye.look(image, single=len(images) > 1) for image in images))
            tokens.append(self._prompt(question, [(image.height, image.width) for image in images]))
        longest = max(map(len, tokens))
        pad = min(self._ends)
        input_ids = torch.tensor(
            [[pad] * (longest - len(own)) + own for own in tokens], device=model.device
        )
        # Attention without a mask is faster.
        mask = None
        if any(len(own) < longest for own in tokens):
            lengths = torch.tensor([len(own) for own in tokens], device=model.device)
            places = torch.arange(longest, device=model.device)
            mask = (places >= longest - lengths[:, None]).long()
        inputs = eye.inputs(pictures, input_ids, self._dtype)
        positions = eye.positions(model, input_ids, inputs, mask)
        found = model(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **inputs,
        )
        # What follows goes on from the last token, which is text: its positions are all the same.
        return _Context(found.logits[:, -1], found.past_key_values, positions[..., -1] + 1, mask)

    def _drawn(self, context: _Context, drawing: Drawing, seeds: Sequence[int]) -> list[list[int]]:
        """Token ids of each answer, with its end where it came to one."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        rows: list[list[int]] = [[] for _ in seeds]
        logits, places, mask = context.logits, context.places, context.mask
        while True:
            following = self._next(logits, drawing, generators)
            for row, token in zip(rows, following.tolist(), strict=True):
                if not self._over(row):
                    row.append(token)
            if all(map(self._over, rows)) or len(max(rows, key=len)) >= drawing.max_tokens:
                return rows
            if mask is not None:
                mask = torch.nn.functional.pad(mask, (0, 1), value=1)
            logits = self._model(
                input_ids=following[:, None],
                attention_mask=mask,
                position_ids=places[..., None],
                past_key_values=context.past,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            places = places + 1

    def _next(
        self, logits: torch.Tensor, drawing: Drawing, generators: Sequence[torch.Generator]
    ) -> torch.Tensor:
        """(n,) one token for each row of (n, vocab)."""
        logits = logits.float().index_fill(1, self._banned, -torch.inf)
        if drawing.temperature == 0:
            return logits.argmax(dim=-1)
        warped = logits / drawing.temperature
        if drawing.top_p < 1:
            asked = torch.empty(0, dtype=torch.long)  # the warper does not look at it
            warped = TopPLogitsWarper(drawing.top_p)(cast(Any, asked), cast(Any, warped))
        # The same numbers draw the same tokens on every device.
        heights = warped.double().softmax(dim=-1).cumsum(dim=-1)
        drawn = torch.stack([torch.rand(1, dtype=torch.float64, generator=g) for g in generators])
        top = heights[:, -1:]
        below = torch.minimum(drawn.to(top.device) * top, torch.nextafter(top, 0 * top))
        return torch.searchsorted(heights, below, right=True)[:, 0]

    def _over(self, row: Sequence[int]) -> bool:
        return bool(row) and row[-1] in self._ends

    def _answer(self, row: Sequence[int]) -> Answer:
        spelled = b"".join(map(self._base.folder.tokenizer.bytes_of, row))
        text = spelled.decode("utf-8", errors="replace").strip()
        return Answer(text, len(row), self._over(row))


def dialect_of(base: Base) -> str:
    """A dialect whose control tokens the base knows."""
    return "edgecritic-qwen-v1" if base.eye.framed else "edgecritic-v1"


@contextmanager
def loaded_policy(config: RoundsConfig, adapter: Path | None) -> Iterator[Policy]:
    """Load a policy; `release_memory` gives back what it held once nobody has it.

    Args:
        config: names the base.
        adapter: of the policy; None for that of the settings, or the base as it is.

    Raises:
        CriticError: it cannot be loaded.
    """
    tuning = policy_config(config, adapter)
    base = open_base(tuning)
    with without_renamings():
        yield Policy(_model(tuning, base), base, compute_dtype(tuning))


def release_memory() -> None:
    """Give back what models held that nobody has any more: the next one needs the room."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _model(tuning: TuningConfig, base: Base) -> Any:
    model = load_base(base, tuning)
    if tuning.adapter.start is None:
        return model.eval()
    # With float32 adapters over a half-precision base, as it was trained: under autocast.
    found = adapted(model, base.family, tuning.adapter)
    return found.requires_grad_(False).eval().get_base_model()


def policy_identity(config: RoundsConfig, adapter: Path | None) -> str:
    """What a policy's answers depend on beside the question, as one hash.

    Of the base's weights, names and sizes count: they are many gigabytes.
    """
    tuning = policy_config(config, adapter)
    path = open_base(tuning).folder.path
    start = tuning.adapter.start
    return content_key(
        [[file.name, file.stat().st_size] for file in sorted(path.glob("*.safetensors"))],
        [file_sha256(path / name) for name in ("config.json", "tokenizer.json")],
        [tuning.base.quantization, tuning.base.dtype, tuning.images.max_tokens],
        None if start is None else file_sha256(start / WEIGHTS),
    )
