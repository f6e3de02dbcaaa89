"""Rows behind one prefix learn what they would learn by themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.errors import InputError
from edgecritic_train.tuning.arguments import without_renamings
from edgecritic_train.tuning.base import open_base
from edgecritic_train.tuning.branches import PADDING, branch_mask, gathered
from edgecritic_train.tuning.collate import CriticCollator
from edgecritic_train.tuning.guard import n_tokens
from edgecritic_train.tuning.prepare import prepare_rows
from edgecritic_train.tuning.run import train
from edgecritic_train.tuning.sft import make_trainer, stage_of, train_sft
from tiny_tuning import FAMILIES, Configure


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(0, 5)), min_size=1, max_size=30
    ),
    st.integers(20, 40),
)
def test_every_row_stands_in_one_sequence_that_fits(
    rows: list[tuple[int, int, int]], limit: int
) -> None:
    fronts = [0 if key == 0 else 4 + key for key, _, _ in rows]
    lengths = [front + own for front, (_, own, _) in zip(fronts, rows, strict=True)]
    keys = [key for key, _, _ in rows]
    packs = gathered(keys, lengths, fronts, limit)
    assert sorted(k for pack in packs for k in pack) == list(range(len(rows)))
    for pack in packs:
        assert len({keys[k] for k in pack}) == 1
        assert fronts[pack[0]] + sum(lengths[k] - fronts[k] for k in pack) <= limit
        assert len(pack) == 1 or fronts[pack[0]]


def test_a_branch_sees_the_prefix_and_itself() -> None:
    branches = torch.tensor([[0, 0, 1, 1, 2, PADDING]])
    seen = branch_mask(branches)[0, 0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "settings",
    [(), ("optimizer.gradient_checkpointing=true", "adapter.projector=true"), ("eager",)],
    ids=["plain", "checkpointing", "eager"],
)
def test_losses_and_gradients_are_those_of_rows_by_themselves(
    configure: Configure, family: str, settings: tuple[str, ...]
) -> None:
    """Of three pictures, two in a batch, with rows of different lengths behind them."""
    named = tuple("base.attention=eager" if text == "eager" else text for text in settings)
    weights = ("loss.verdict=3", "loss.form=0.25", "evaluation.every=50")
    config = configure(family, "data.share=true", *weights, *named)
    base = open_base(config)
    config.output.mkdir()
    with without_renamings():
        trainer = make_trainer(config, base, prepare_rows(config, base, lambda _: None), True)
    collator = trainer.data_collator
    assert isinstance(collator, CriticCollator)
    together = [[{"rows": [0, 1]}, {"rows": [2, 3]}], [{"rows": [4, 5]}]]
    alone = [[{"rows": [k]}] for k in range(6)]
    shared = [collator(batch) for batch in together]
    single = [collator(batch) for batch in alone]
    assert "branches" in shared[0]
    assert "branches" not in single[0]
    assert sum(map(n_tokens, shared)) < sum(map(n_tokens, single))
    assert shared[0]["shown"].row_ids == ("pair-0", "score-0", "pair-1", "score-1")
    found = [_learned(trainer, batches) for batches in (shared, single)]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=1e-4)


def _learned(trainer: Any, batches: list[dict[str, Any]]) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of a step; the updates' second factors are zero at the start, so move."""
    model = trainer.model
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    model.zero_grad()
    trainer.current_gradient_accumulation_steps = len(batches)
    items = trainer._get_num_items_in_batch(batches, torch.device("cpu"))
    loss = sum(float(trainer.training_step(model, batch, items)) for batch in batches)
    trained = [p for p in model.parameters() if p.requires_grad]
    return loss, [p.grad.clone() for p in trained if p.grad is not None]


def test_a_run_puts_rows_of_a_picture_together(configure: Configure) -> None:
    config = configure("llava_onevision", "data.share=true")
    told: list[str] = []
    train(config, stage_of(config), told.append)
    assert any("20 rows to learn from in 10 sequences" in line for line in told)


def test_flash_attention_cannot_share(configure: Configure) -> None:
    config = configure("llava_onevision", "data.share=true", "base.attention=flash_attention_2")
    with pytest.raises(InputError, match="no mask of a shared prefix"):
        train_sft(config, lambda _: None)
