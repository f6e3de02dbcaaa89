"""Stage 1: the vision tower learns to read the engine's pictures.

Two readers look at the tower's patches and are thrown away afterwards. One names attributes
(which objects, which digit, how many), a dense signal that starts the tower off; the other
spells the answer to the item's question character by character, so that words, numbers and
charts that were never seen as a whole can be read.

Rendering is slower than the GPU, so pictures stay in the card's memory and are shown again.

Source: captioning as vision pretraining, arXiv:2306.07915.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from edgecritic.vision import ImageGeometry, tile
from edgecritic_train.data.items import TwinItem
from edgecritic_train.embedded.config import EmbeddedConfig, TowerShape
from edgecritic_train.embedded.feed import ItemStream, batches, normalised
from edgecritic_train.embedded.loop import Stage
from edgecritic_train.embedded.model import tower_features
from edgecritic_train.embedded.tower_start import start_tower

TEXT_CHARS, ANSWER_CHARS = 96, 56
"""Room for question and answer together (63 on average, 93 for 95% of them), and for the answer."""
END, PAD = 10, 0
N_CHARACTERS = 128

ATTRIBUTES = (
    "objects", "category", "digit", "number", "word", "count", "colour", "shape", "garment",
    "chart_max", "chart_min", "chart_trend", "chart_slice", "card", "flag",
)  # fmt: skip
"""Labels that a picture determines without its question."""
WATCHED = ("objects", "digit", "shape", "count")
"""Attributes whose hit rate is logged: a tower that only sees colours shows in the last three."""
N_VALUES = 4096
"""Buckets for ``key=value``: a few thousand values, so that collisions are rare."""
MAX_VALUES = 4
REPLAYS = 3
"""Steps on pictures shown before, for each step on new ones."""
POOL = 300_000
"""Pictures kept for replay: 33 GB at 192 px."""


def bucket(key: str, value: str) -> int:
    """The class of an attribute value, the same in every process."""
    return zlib.crc32(f"{key}={value}".encode()) % N_VALUES


def characters(question: str, answer: str) -> tuple[list[int], int]:
    """ASCII codes of question and answer, and where the answer starts.

    Too long an answer loses its end, and a question that leaves it no room its beginning.
    """
    told = [min(ord(c), N_CHARACTERS - 1) for c in answer[: ANSWER_CHARS - 1]] + [END]
    room = TEXT_CHARS - len(told) - 1
    asked = [min(ord(c), N_CHARACTERS - 1) for c in question[-room:]] + [END]
    return asked + told, len(asked)


@dataclass(frozen=True)
class Pictures:
    """Pictures with what they show.

    Attributes:
        tiles: (n, S, S, 3) uint8.
        codes: (n, T) uint8 characters of question and answer, 0 behind them.
        starts: (n,) int16, where the answer starts.
        values: (n, attributes, 4) int16 buckets; -1 where there is none.
    """

    tiles: Tensor
    codes: Tensor
    starts: Tensor
    values: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Pictures:
        """The same pictures with `change` applied to every tensor."""
        return Pictures(*(change(t) for t in (self.tiles, self.codes, self.starts, self.values)))

    def pin_memory(self) -> Pictures:
        """In page-locked memory (torch's DataLoader asks for it)."""
        return self.map(lambda tensor: tensor.pin_memory())

    def __len__(self) -> int:
        return len(self.tiles)


@dataclass(frozen=True)
class PictureCollate:
    """Items to pictures: one of the two views of each of the two images."""

    geometry: ImageGeometry

    def __call__(self, items: Sequence[TwinItem]) -> Pictures:
        """2n pictures from n items."""
        n = 2 * len(items)
        codes = np.full((n, TEXT_CHARS), PAD, np.uint8)
        starts = np.zeros(n, np.int16)
        values = np.full((n, len(ATTRIBUTES), MAX_VALUES), -1, np.int16)
        tiles = []
        for row, (item, side) in enumerate((item, side) for item in items for side in (0, 1)):
            text, starts[row] = characters(item.question, item.facts[side])
            codes[row, : len(text)] = text
            _fill_values(values[row], item.labels[side])
            tiles.append(self._view(item.images[side], padded=bool((item.seed + side) % 2)))
        return Pictures(
            torch.from_numpy(np.stack(tiles)),
            torch.from_numpy(codes),
            torch.from_numpy(starts),
            torch.from_numpy(values),
        )

    def _view(self, image: Image.Image, *, padded: bool) -> NDArray[np.uint8]:
        """The padded tile or the squashed base view, as `tile` makes them."""
        if padded:
            padded_tile: NDArray[np.uint8] = tile(image, self.geometry).tiles[1]
            return padded_tile
        side = self.geometry.tile_size
        return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def _fill_values(values: NDArray[np.int16], labels: Mapping[str, str]) -> None:
    for number, key in enumerate(ATTRIBUTES):
        if key in labels:
            names = labels[key].split("|")[:MAX_VALUES]
            values[number, : len(names)] = [bucket(key, name) for name in names]


class AttributeReader(nn.Module):
    """One attention query per attribute over the patches, then a linear classifier of its own.

    The queries start far apart and the classifiers share nothing: a classifier for all would
    first have to learn which attribute it is asked for.
    """

    def __init__(self, tower: TowerShape) -> None:
        super().__init__()
        shape = len(ATTRIBUTES), tower.width
        self.queries = nn.Parameter(torch.randn(shape))
        self.norm_in = nn.LayerNorm(tower.width)
        self.attention = nn.MultiheadAttention(tower.width, tower.heads, batch_first=True)
        self.norm_out = nn.LayerNorm(tower.width)
        self.out = nn.Parameter(torch.randn(*shape, N_VALUES) * (3 * tower.width) ** -0.5)

    def forward(self, patches: Tensor) -> Tensor:
        """(n, patches, width) to (n, attributes, 4096) logits."""
        patches = self.norm_in(patches)
        queries = self.queries.expand(len(patches), -1, -1)
        pooled, _ = self.attention(queries, patches, patches, need_weights=False)
        return torch.einsum("naw,awv->nav", self.norm_out(pooled), self.out)


class CharacterReader(nn.Module):
    """A transformer decoder over characters that looks at the patches.

    Args:
        tower: gives the width.
        layers: decoder blocks.
    """

    def __init__(self, tower: TowerShape, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(N_CHARACTERS, tower.width)
        self.place = nn.Parameter(torch.randn(TEXT_CHARS, tower.width) * 0.02)
        self.norm_in = nn.LayerNorm(tower.width)
        block = nn.TransformerDecoderLayer(
            tower.width, tower.heads, tower.mlp, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerDecoder(block, layers, norm=nn.LayerNorm(tower.width))
        self.out = nn.Linear(tower.width, N_CHARACTERS)

    def forward(self, codes: Tensor, patches: Tensor) -> Tensor:
        """(n, T) codes and (n, patches, width) features to (n, T, 128) next-character logits."""
        length = codes.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=codes.device).triu(1)
        hidden = self.embed(codes) + self.place[:length]
        hidden = self.blocks(hidden, self.norm_in(patches), tgt_mask=causal, tgt_is_causal=True)
        logits: Tensor = self.out(hidden)
        return logits


def attribute_loss(logits: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy to the named values, shared equally, and how often the top value is one.

    Args:
        logits: (n, attributes, values).
        values: (n, attributes, 4) classes; -1 where there is none.

    Returns:
        The mean loss, and (attributes,) hit rates in [0, 1], NaN where no picture has one.
    """
    present = values >= 0
    logs = functional.log_softmax(logits.float(), -1)
    picked = logs.gather(-1, values.clamp(min=0).long()) * present
    n_values = present.sum(-1)
    losses = -picked.sum(-1) / n_values.clamp(min=1)
    named = n_values > 0
    hit = (logits.argmax(-1)[..., None] == values).any(-1).float()
    return (losses * named).sum() / named.sum(), (hit * named).sum(0) / named.sum(0)


def spelling_loss(logits: Tensor, codes: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the answer's characters, and the share of answers spelt without a slip."""
    wanted = codes[:, 1:]
    order = torch.arange(1, codes.shape[1], device=codes.device)
    answer = (order >= starts[:, None]) & (wanted != PAD)
    losses = functional.cross_entropy(
        logits.float().flatten(0, 1), wanted.flatten(), reduction="none"
    ).view(wanted.shape)
    exact = ((logits.argmax(-1) == wanted) | ~answer).all(-1).float().mean()
    return (losses * answer).sum() / answer.sum(), exact


def reading_losses(
    tower: Any, names: AttributeReader, speller: CharacterReader, shown: Pictures
) -> tuple[Tensor, dict[str, Tensor]]:
    """The stage's loss on some pictures, and what is logged beside it."""
    codes = shown.codes.long()
    device = codes.device
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        patches = tower_features(tower, normalised(shown.tiles))
        attributes, spelling = names(patches), speller(codes[:, :-1], patches)
    naming, hits = attribute_loss(attributes, shown.values)
    reading, exact = spelling_loss(spelling, codes, shown.starts)
    watched = {name: hits[ATTRIBUTES.index(name)] for name in WATCHED}
    metrics = {"naming": naming, "reading": reading, "exact": exact, **watched}
    return naming + 2 * reading, {name: value.detach() for name, value in metrics.items()}


class Pool:
    """The latest pictures, on the device, for replay."""

    def __init__(self, size: int) -> None:
        self.size, self.count = size, 0
        self.pictures: Pictures | None = None

    def add(self, pictures: Pictures) -> None:
        """Keep pictures, in place of the oldest once the pool is full."""
        if self.pictures is None:
            self.pictures = pictures.map(lambda t: t.new_empty((self.size, *t.shape[1:])))
        place = torch.arange(self.count, self.count + len(pictures)) % self.size
        place = place.to(pictures.tiles.device)
        for kept, new in zip(vars(self.pictures).values(), vars(pictures).values(), strict=True):
            kept[place] = new
        self.count += len(pictures)

    def draw(self, n: int) -> Pictures:
        """`n` random pictures."""
        assert self.pictures is not None  # noqa: S101 - some were added before
        device = self.pictures.tiles.device
        chosen = torch.randint(min(self.count, self.size), (n,), device=device)
        return self.pictures.map(lambda tensor: tensor[chosen])


def _shown(feed: Iterator[Pictures], pool: Pool, device: torch.device) -> Iterator[Pictures]:
    """New pictures, each batch followed by replays."""
    for fresh in feed:
        pictures = fresh.map(lambda tensor: tensor.to(device, non_blocking=True))
        pool.add(pictures)
        yield pictures
        for _ in range(REPLAYS):
            yield pool.draw(len(pictures))


def pretrain(
    tower: Any,
    config: EmbeddedConfig,
    geometry: ImageGeometry,
    *,
    packs: tuple[Path, ...],
    folder: Path,
    n_workers: int,
    compiled: bool,
) -> None:
    """Train `tower` in place for the stage's budget; resumes from `folder`."""
    budget = config.pretrain
    device = next(tower.parameters()).device
    names, speller = AttributeReader(config.tower), CharacterReader(config.tower)
    readers = nn.ModuleList([names, speller]).to(device)
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in tower.named_parameters():
        (matrices if "layers." in name and parameter.ndim == 2 else others).append(parameter)
    stage = Stage(
        "pretrain",
        folder,
        {"tower": tower, "readers": readers},
        [
            {"params": others, "lr": budget.lr_tower},
            {"params": list(readers.parameters()), "lr": budget.lr_projector},
        ],
        budget,
        matrices=[{"params": matrices, "lr": budget.lr_matrices}],
    )
    if not stage.running:
        return
    stream = ItemStream(packs, "train", config.seed + 1000 * stage.steps)
    feed = batches(stream, budget.batch // 2, PictureCollate(geometry), n_workers)
    if stage.steps == 0:
        start_tower(tower, normalised(next(feed).tiles.to(device)))
    look = reading_losses
    if compiled:  # as one captured graph: launching the kernels takes longer than running them
        look = torch.compile(look, mode="reduce-overhead", dynamic=False)
    for shown in _shown(feed, Pool(POOL if device.type == "cuda" else 512), device):
        loss, metrics = look(tower, names, speller, shown)
        stage.step(loss, {name: value.clone() for name, value in metrics.items()})
        if not stage.running:
            return
