"""Stage 1: the vision tower learns to read the engine's pictures by answering about them.

A small decoder over characters answers the item's question from the tower's patches. It is
cheap, so the tower sees several times as many pictures as the language model could show it, and
characters make it read words and numbers it has never met. The decoder is thrown away.

Source: captioning as vision pretraining, arXiv:2306.07915.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecritic.vision import ImageGeometry, tile
from edgecritic_train.data.items import TwinItem
from edgecritic_train.embedded.config import EmbeddedConfig, TowerShape
from edgecritic_train.embedded.feed import ItemStream, batches, normalised
from edgecritic_train.embedded.loop import Stage
from edgecritic_train.embedded.model import tower_features

QUESTION_CHARS, ANSWER_CHARS = 72, 56
END, PAD = 10, 0
VOCAB = 128


def characters(question: str, answer: str) -> tuple[list[int], int]:
    """ASCII codes of question and answer, and where the answer starts; too long a question
    loses its beginning.
    """
    asked = [min(ord(c), VOCAB - 1) for c in question[-QUESTION_CHARS:]] + [END]
    told = [min(ord(c), VOCAB - 1) for c in answer[: ANSWER_CHARS - 1]] + [END]
    return asked + told, len(asked)


@dataclass(frozen=True)
class PretrainCollate:
    """Items to (tiles, characters, answer mask): one view of each of the two pictures."""

    geometry: ImageGeometry

    def __call__(self, items: Sequence[TwinItem]) -> tuple[Tensor, Tensor, Tensor]:
        """Tiles (2n, S, S, 3) uint8, characters (2n, T) uint8, mask (2n, T) bool."""
        length = QUESTION_CHARS + ANSWER_CHARS + 1
        codes = np.full((2 * len(items), length), PAD, np.uint8)
        mask = np.zeros(codes.shape, bool)
        tiles = []
        for number, item in enumerate(items):
            for side in (0, 1):
                row = 2 * number + side
                text, start = characters(item.question, item.facts[side])
                codes[row, : len(text)] = text
                mask[row, start : len(text)] = True
                views = tile(item.images[side], self.geometry).tiles
                tiles.append(views[(item.seed + side) % len(views)])
        return torch.from_numpy(np.stack(tiles)), torch.from_numpy(codes), torch.from_numpy(mask)


class CharacterReader(nn.Module):
    """A transformer decoder over characters that looks at the tower's patches.

    Args:
        tower: gives the width.
        layers: decoder blocks.
    """

    def __init__(self, tower: TowerShape, layers: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB, tower.width)
        self.place = nn.Parameter(torch.randn(QUESTION_CHARS + ANSWER_CHARS, tower.width) * 0.02)
        self.norm_in = nn.LayerNorm(tower.width)
        block = nn.TransformerDecoderLayer(
            tower.width, tower.heads, tower.mlp, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerDecoder(block, layers, norm=nn.LayerNorm(tower.width))
        self.out = nn.Linear(tower.width, VOCAB)

    def forward(self, codes: Tensor, patches: Tensor) -> Tensor:
        """(n, T) codes and (n, patches, width) features to (n, T, 128) next-character logits."""
        length = codes.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=codes.device).triu(1)
        hidden = self.embed(codes) + self.place[:length]
        hidden = self.blocks(hidden, self.norm_in(patches), tgt_mask=causal, tgt_is_causal=True)
        logits: Tensor = self.out(hidden)
        return logits


def pretrain(
    tower: nn.Module,
    config: EmbeddedConfig,
    geometry: ImageGeometry,
    packs: tuple[Path, ...],
    folder: Path,
    n_workers: int,
    *,
    compiled: bool,
) -> None:
    """Train `tower` in place for the stage's budget; resumes from `folder`."""
    device = next(tower.parameters()).device
    reader = CharacterReader(config.tower).to(device)
    budget = replace(config.pretrain)
    groups: list[dict[str, object]] = [
        {"params": list(tower.parameters()), "lr": budget.lr_tower},
        {"params": list(reader.parameters()), "lr": budget.lr_projector},
    ]
    stage = Stage("pretrain", folder, {"tower": tower, "reader": reader}, groups, budget)
    stream = ItemStream(packs, "train", config.seed + 1000 * stage.steps)
    feed = batches(stream, budget.batch // 2, PretrainCollate(geometry), n_workers)

    def loss_of(tiles: Tensor, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = reader(codes[:, :-1], tower_features(tower, tiles))
        wanted = codes[:, 1:]
        losses = functional.cross_entropy(
            logits.float().flatten(0, 1), wanted.flatten(), reduction="none"
        ).view(wanted.shape)
        answer = mask[:, 1:]
        right = ((logits.argmax(-1) == wanted) | ~answer).all(-1)
        return (losses * answer).sum() / answer.sum(), right.float().mean()

    if compiled:
        loss_of = torch.compile(loss_of)
    while stage.running:
        tiles, codes, mask = (t.to(device, non_blocking=True) for t in next(feed))
        loss, exact = loss_of(normalised(tiles), codes.long(), mask)
        stage.step(loss, {"exact": exact})
