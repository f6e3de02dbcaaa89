"""Stages 2 and 3: answering about pictures, then judging answers.

Alignment trains on the plain answers to the questions, short rows in which every token tells
the projector and the adapter what a picture shows; SFT trains on judgements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecritic.prompts import load_dialect
from edgecritic.vision import ImageGeometry
from edgecritic_train.data.items import TwinItem
from edgecritic_train.embedded.config import VIEWS, EmbeddedConfig, StageBudget
from edgecritic_train.embedded.feed import ItemStream, batches, normalised, stacked
from edgecritic_train.embedded.language_model import PieceTokenizer
from edgecritic_train.embedded.loop import Stage
from edgecritic_train.embedded.model import Parts, parts, tower_features
from edgecritic_train.embedded.rows import IMAGE, Row, RowMaker, item_rows
from edgecritic_train.tuning.branches import PADDING, branch_mask

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True)
class RowBatch:
    """Stacked rows.

    Attributes:
        tokens: (b, T) ids, `IMAGE` where a feature goes.
        segments: (b, T); see `rows.Row`; `PADDING` behind the row.
        positions: (b, T) position ids.
        targets: (m, 2): index into the flattened (b * T) positions, and the token there.
        weights: (m,) loss weights.
        tiles: (n, S, S, 3) uint8 of all pictures.
        gather: (k,) for every `IMAGE` in reading order, the patch it shows among all tiles';
            -1 is the newline.
        n_judgements: branches in the batch.
    """

    tokens: Tensor
    segments: Tensor
    positions: Tensor
    targets: Tensor
    weights: Tensor
    tiles: Tensor
    gather: Tensor
    n_judgements: int

    def to(self, device: torch.device) -> RowBatch:
        """The batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> RowBatch:
        """The batch in page-locked memory (torch's DataLoader asks for it)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> RowBatch:
        return RowBatch(
            tokens=change(self.tokens),
            segments=change(self.segments),
            positions=change(self.positions),
            targets=change(self.targets),
            weights=change(self.weights),
            tiles=change(self.tiles),
            gather=change(self.gather),
            n_judgements=self.n_judgements,
        )


def stack_rows(
    rows: Sequence[Row], length: int, patches: int, *, n_tiles: int | None = None
) -> RowBatch:
    """Pad rows to `length`, tiles to `n_tiles`, and renumber what they point to."""
    tiles, gather, targets, weights = [], [], [], []
    n_stacked = 0
    for number, row in enumerate(rows):
        tiles.append(torch.from_numpy(row.image.tiles))
        order = torch.from_numpy(row.image.gather)
        gather.append(torch.where(order < 0, order, order + n_stacked * patches))
        n_stacked += len(row.image.tiles)
        flat = torch.from_numpy(row.targets).clone()
        flat[:, 0] += number * length
        targets.append(flat)
        weights.append(torch.from_numpy(row.weights))
    if n_tiles is not None:
        tiles.append(tiles[0].new_zeros(n_tiles - n_stacked, *tiles[0].shape[1:]))
    return RowBatch(
        tokens=stacked([row.tokens for row in rows], 0, length),
        segments=stacked([row.segments for row in rows], PADDING, length),
        positions=stacked([row.positions for row in rows], 0, length),
        targets=torch.cat(targets),
        weights=torch.cat(weights),
        tiles=torch.cat(tiles),
        gather=torch.cat(gather),
        n_judgements=sum(row.n_judgements for row in rows),
    )


class RowCollate:
    """Items to a batch of rows; the tokenizer is opened in the worker that needs it.

    Args:
        language_model: the GGUF file, for its vocabulary.
        config: of the run.
        geometry: of the pictures.
        judged: rows of judgements; otherwise of plain answers.
    """

    def __init__(
        self, language_model: Path, config: EmbeddedConfig, geometry: ImageGeometry, *, judged: bool
    ) -> None:
        self.language_model, self.config, self.geometry = language_model, config, geometry
        self.judged = judged
        self.limit = config.row_tokens if judged else config.answer_tokens
        self._maker: RowMaker | None = None

    def __call__(self, items: Sequence[TwinItem]) -> RowBatch:
        """A batch of two rows per item."""
        if self._maker is None:
            tokenize = PieceTokenizer.from_gguf(self.language_model)
            self._maker = RowMaker(tokenize, load_dialect(), self.config)
        rows = [
            row
            for item in items
            for row in item_rows(
                item, self._maker, self.geometry, judged=self.judged, limit=self.limit
            )
        ]
        # As many tiles in every batch, or each number of them would compile the tower again.
        patches = self.geometry.patches_per_side**2
        return stack_rows(rows, self.limit, patches, n_tiles=VIEWS * len(rows))


def image_embeddings(model: Parts, tiles: Tensor, gather: Tensor) -> Tensor:
    """(k, d) packed image tokens of all pictures."""
    features = model.projector(tower_features(model.tower, tiles)).flatten(0, 1)
    table = torch.cat([features, model.newline.to(features.dtype)[None]])
    return table[torch.where(gather < 0, len(features), gather)]


def hidden_states(model: Parts, batch: RowBatch) -> Tensor:
    """(b * T, d) last hidden states of the rows."""
    embed = model.decoder.embed_tokens
    hidden: Tensor = embed(batch.tokens.clamp(min=0))
    images = image_embeddings(model, normalised(batch.tiles), batch.gather).to(hidden.dtype)
    hidden = hidden.masked_scatter((batch.tokens == IMAGE)[..., None], images)
    mask = branch_mask(batch.segments)
    rotary = model.decoder.rotary_emb(hidden, batch.positions)
    for layer in model.decoder.layers:
        hidden = layer(
            hidden,
            attention_mask=mask,
            position_ids=batch.positions,
            position_embeddings=rotary,
        )
    normed: Tensor = model.decoder.norm(hidden)
    return normed.flatten(0, 1)


def weighted_loss(
    model: Parts, batch: RowBatch, counted: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss per judgement, and mean cross-entropy and accuracy of the targets that count.

    Args:
        model: the parts.
        batch: rows.
        counted: weight of the targets that the metrics are about; None for all.
    """
    hidden = hidden_states(model, batch)[batch.targets[:, 0]]
    logits = model.head(hidden).float()
    wanted = batch.targets[:, 1]
    losses = functional.cross_entropy(logits, wanted, reduction="none")
    told = torch.ones_like(batch.weights) if counted is None else batch.weights == counted
    right = (logits.argmax(-1) == wanted) * told
    return (
        (losses * batch.weights).sum() / batch.n_judgements,
        (losses.detach() * told).sum() / told.sum(),
        right.sum() / told.sum(),
    )


@dataclass(frozen=True)
class Sources:
    """Where a stage reads from and writes to.

    Attributes:
        packs: asset packs.
        language_model: the GGUF file.
        folder: the run.
        n_workers: rendering processes.
        compiled: compile the layers.
    """

    packs: tuple[Path, ...]
    language_model: Path
    folder: Path
    n_workers: int
    compiled: bool


def optimizer_groups(model: PeftModel, budget: StageBudget) -> list[dict[str, object]]:
    """Parameter groups of what the budget gives a rate; the rest is frozen."""
    pieces = parts(model.base_model.model)
    groups: list[dict[str, object]] = []
    for parameters, rate in (
        (list(pieces.tower.parameters()), budget.lr_tower),
        ([*pieces.projector.parameters(), pieces.newline], budget.lr_projector),
        ([p for name, p in model.named_parameters() if "lora_" in name], budget.lr_adapter),
    ):
        for parameter in parameters:
            parameter.requires_grad_(rate > 0)
        if rate > 0:
            groups.append({"params": parameters, "lr": rate})
    return groups


def train_rows(
    model: PeftModel,
    config: EmbeddedConfig,
    geometry: ImageGeometry,
    sources: Sources,
    *,
    judged: bool,
) -> None:
    """Train tower, projector and adapter in place: SFT if `judged`, else alignment; resumes."""
    name, budget = ("sft", config.sft) if judged else ("align", config.align)
    pieces = parts(model.base_model.model)
    device = pieces.newline.device
    groups = optimizer_groups(model, budget)
    stage = Stage(name, sources.folder, {"trained": TrainedPart(model)}, groups, budget)
    if not stage.running:
        return
    if sources.compiled:
        for layer in [*pieces.tower.encoder.layers, *pieces.decoder.layers]:
            layer.compile(dynamic=False)
    collate = RowCollate(sources.language_model, config, geometry, judged=judged)
    seed = config.seed + 1 + judged + 1000 * (stage.steps + 1)
    stream = ItemStream(sources.packs, "train", seed, config.emphasis)
    feed = batches(stream, max(1, budget.batch // 2), collate, sources.n_workers)
    counted = config.verdict_weight if judged else None
    while stage.running:
        batch = next(feed).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, nats, right = weighted_loss(pieces, batch, counted)
        stage.step(loss, {"nats": nats, "right": right})


class TrainedPart(nn.Module):
    """The weights that a critic adds to its language model, under stable names.

    Holds references, so its state dict is what training changes: ``tower.*``, ``projector.*``,
    ``newline`` and ``lora.<layer>.<module>.A|B``.
    """

    def __init__(self, model: PeftModel) -> None:
        super().__init__()
        pieces = parts(model.base_model.model)
        self.tower, self.projector, self.newline = pieces.tower, pieces.projector, pieces.newline
        self.lora = nn.ParameterDict(
            {_stable_name(name): p for name, p in model.named_parameters() if "lora_" in name}
        )


def _stable_name(name: str) -> str:
    """``layers/3/self_attn/q_proj/A`` for a PEFT parameter."""
    path = name.split("language_model.")[1].removesuffix(".default.weight")
    module, matrix = path.rsplit(".lora_", 1)
    return f"{module}.{matrix}".replace(".", "/")
