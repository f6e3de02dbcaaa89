"""How the vision tower starts: patches that differ and places that can be told apart.

Drawings are mostly flat paper. With transformers' start, more than half of the variance that the
first block reads, and 94% of what the last one writes, is the same on all patches of a picture, and
the position embedding has a sixteenth of the content's size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

RIDGE = 0.01
"""Added to the patches' variances, in units of their mean, so that faint noise stays faint."""
LONGEST_WAVE = 100.0
"""Ratio of the longest to the shortest period among the position embedding's waves."""


@torch.no_grad()
def start_tower(tower: Any, pixels: Tensor) -> None:
    """Whiten the patch embedding on a sample and give every place its own waves.

    Both parts of what the first block reads then have standard deviation 1. Everything else
    starts as transformers has it.

    Args:
        tower: a SigLIP vision model.
        pixels: (n, 3, S, S), normalised; n times the patches of a picture should be several
            times the 3 x patch x patch values of a patch.

    Source: whitening patches, Coates and Ng 2011; waves over two axes, arXiv:2205.01580.
    """
    embedding = tower.embeddings.patch_embedding
    weight, bias = whitening(pixels, embedding.out_channels, embedding.kernel_size[0])
    embedding.weight.copy_(weight.view_as(embedding.weight))
    embedding.bias.copy_(bias)
    places = tower.embeddings.position_embedding.weight
    places.copy_(waves(round(len(places) ** 0.5), places.shape[1]))


def whitening(pixels: Tensor, width: int, patch: int) -> tuple[Tensor, Tensor]:
    """Weight (width, 3 x patch x patch) and bias (width,) that decorrelate a sample's patches.

    The strongest principal directions are scaled to equal variance and turned at random, so
    that no channel belongs to one direction.
    """
    patches = functional.unfold(pixels.float(), patch, stride=patch)
    patches = patches.transpose(1, 2).flatten(0, 1)
    mean = patches.mean(0)
    variances, directions = torch.linalg.eigh(torch.cov(patches.T))
    variances, directions = variances.flip(0)[:width], directions.flip(1)[:, :width]
    ridge = RIDGE * variances.sum() / patches.shape[1]
    turn = nn.init.orthogonal_(patches.new_empty(width, directions.shape[1]))
    weight = turn @ (directions / (variances + ridge).sqrt()).T
    weight /= ((patches - mean) @ weight.T).std()
    return weight, -weight @ mean


def waves(side: int, width: int) -> Tensor:
    """(side x side, width) sines and cosines of row and column, mean 0 and standard deviation 1.

    Args:
        side: patches along one side.
        width: hidden size, a multiple of 4.
    """
    steps = torch.arange(width // 4) / (width // 4)
    angles = torch.arange(side)[:, None] / LONGEST_WAVE**steps
    axis = torch.cat([angles.sin(), angles.cos()], 1)
    rows, columns = axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)
    places = torch.cat([rows, columns], 2).flatten(0, 1)
    places = places - places.mean(0)
    return places / places.std()
