"""Shape and training budget of the embedded critic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgecritic.vision import ImageGeometry

TILE = 192
PATCH = 16
VIEWS = 2
"""The most tiles of a picture: the base view and the padded one, which a square picture shares."""


def embedded_geometry() -> ImageGeometry:
    """One base view and one padded tile of 192 px: at most 144 + 156 image tokens."""
    return ImageGeometry(tile_size=TILE, patch_size=PATCH, pinpoints=((TILE, TILE),))


@dataclass(frozen=True, slots=True)
class TowerShape:
    """The SigLIP-style vision tower: 13.8M parameters; 28.8 MB in F16 with its projector.

    Attributes:
        width: hidden size.
        layers: encoder blocks.
        heads: attention heads.
        mlp: hidden size of the MLP.
    """

    width: int = 384
    layers: int = 8
    heads: int = 6
    mlp: int = 1408


@dataclass(frozen=True, slots=True)
class LoraShape:
    """The adapter over all linear layers of the language model.

    Attributes:
        rank: with 32 the adapter has 9.8M parameters, 19.6 MB in F16; llama.cpp's fast kernels
            need a multiple of 32.
        alpha: scale numerator; the update is alpha / rank * B A.
    """

    rank: int = 32
    alpha: int = 64


@dataclass(frozen=True, slots=True)
class StageBudget:
    """How long a stage trains and how fast it learns.

    The schedule follows the clock, not a step count: training machines are rented by the
    minute, and a stage that is resumed goes on with the seconds it has left.

    Attributes:
        seconds: of training, checkpoints and compilation included.
        batch: images (pretraining) or rows (align, sft) in a step.
        lr_tower: peak learning rate of the vision tower; 0 freezes it.
        lr_projector: of projector and newline (and the captioner in pretraining).
        lr_adapter: of the LoRA; 0 freezes it.
        warmup_steps: steps in which the rates climb.
        lr_matrices: of the matrices in the tower's blocks, which Muon moves in pretraining.
    """

    seconds: float
    batch: int
    lr_tower: float
    lr_projector: float
    lr_adapter: float = 0.0
    warmup_steps: int = 200
    lr_matrices: float = 0.0


@dataclass(frozen=True, slots=True)
class EmbeddedConfig:
    """Everything that a training run of the embedded critic is made of.

    Attributes:
        answer_tokens: length of an alignment row: the picture, its question and the answer.
        row_tokens: length of a packed row; branches that do not fit are left out.
        verdict_weight: loss weight of the tokens that tell one verdict from another.
        answer_weight: of the whole plain answer.
        transcript_weight: of the whole list of what a picture shows.
        form_weight: of the fixed words around the verdict.
        reason_weight: of each token of the reason.
        distractions: share of the judged responses that say something beside their answer, which
            changes nothing of what they are worth.
        emphasis: question type: how many times as often as usual it comes while rows are trained.
        seed: of the weights that start at random, and of the items.
        start: the critic whose weights the run went on from; empty for none.
    """

    tower: TowerShape = field(default_factory=TowerShape)
    lora: LoraShape = field(default_factory=LoraShape)
    pretrain: StageBudget = StageBudget(470, 256, 1e-3, 1e-3, warmup_steps=500, lr_matrices=2e-3)
    align: StageBudget = StageBudget(240, 64, 1e-4, 1e-3, 1e-3, warmup_steps=50)
    sft: StageBudget = StageBudget(1000, 32, 1e-4, 6e-4, 1e-3)
    answer_tokens: int = 384
    row_tokens: int = 896
    verdict_weight: float = 1.0
    answer_weight: float = 2.0
    transcript_weight: float = 3.0
    form_weight: float = 0.02
    reason_weight: float = 0.06
    distractions: float = 0.0
    emphasis: Mapping[str, float] = field(default_factory=dict)
    seed: int = 20261123
    start: str = ""
