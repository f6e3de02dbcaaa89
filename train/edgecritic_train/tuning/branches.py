"""Rows of one picture behind one prefix: ``[prefix | branch 1 | branch 2 | ...]``.

The prefix, pictures and all, is computed once. A branch sees the prefix and itself, at the
positions that it would have alone, so each row has its own losses and gradients.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import torch

from edgecritic_train.tuning.families import Eye

PREFIX: Final = 0
"""Branch of the tokens that all branches see; the branches count from 1."""
PADDING: Final = -1


def branch_mask(branches: torch.Tensor) -> torch.Tensor:
    """(n, 1, length, length) bool, True where a token (row) sees another (column).

    Args:
        branches: (n, length); padding sees the prefix, so that no row of the mask is empty.
    """
    asking, asked = branches[:, :, None], branches[:, None, :]
    return ((asked == PREFIX) | (asked == asking)).tril()[:, None]


def attention_mask(branches: torch.Tensor, attention: str, dtype: torch.dtype) -> torch.Tensor:
    """The mask as transformers' attention of that name takes it."""
    seen = branch_mask(branches)
    if attention == "sdpa":
        return seen
    added = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return added.masked_fill(~seen, torch.finfo(dtype).min)


def branch_positions(
    eye: Eye, model: Any, input_ids: torch.Tensor, branches: torch.Tensor, seen: Mapping[str, Any]
) -> torch.Tensor:
    """Position ids (..., n, length): every branch goes on where the prefix ends.

    Args:
        eye: knows the positions inside of pictures, which all stand in the prefix.
        model: without its adapter's wrapping.
        input_ids: (n, length).
        branches: (n, length).
        seen: what the eye gives the model besides.
    """
    whole = eye.positions(model, input_ids, seen)
    prefix = branches == PREFIX
    # A token of a picture has three numbers in Qwen2.5-VL; what follows goes on from the largest.
    axes = whole.masked_fill(~prefix, -1).reshape(-1, *branches.shape)
    behind = axes.amax(dim=(0, 2))[:, None] + 1
    places = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(branches)
    begins = torch.ones_like(prefix)
    begins[:, 1:] = branches[:, 1:] != branches[:, :-1]
    starts = torch.where(begins, places, 0).cummax(dim=1).values
    return torch.where(prefix, whole, behind + places - starts)


def gathered(
    keys: Sequence[Hashable], lengths: Sequence[int], fronts: Sequence[int], limit: int
) -> list[list[int]]:
    """Which rows stand behind one prefix: those of one key, in as few sequences as first-fit finds.

    Args:
        keys: of each row; equal ones have the same prefix.
        lengths: of each row in tokens.
        fronts: how many of them are the prefix; 0 where there is none to share.
        limit: tokens of a sequence.

    Returns:
        Numbers of the rows of each sequence, in the order of their first rows.
    """
    packs: list[list[int]] = []
    room: dict[Hashable, list[tuple[list[int], int]]] = defaultdict(list)
    for number, (key, length, front) in enumerate(zip(keys, lengths, fronts, strict=True)):
        own = length - front
        known = room[key] if front else []
        place = next((k for k, (_, left) in enumerate(known) if own <= left), None)
        if place is None:
            packs.append([number])
            known.append((packs[-1], limit - length))
        else:
            pack, left = known[place]
            pack.append(number)
            known[place] = (pack, left - own)
    return packs
