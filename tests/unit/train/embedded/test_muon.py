"""Our stacked Muon against torch's, which goes matrix by matrix."""

import pytest
import torch

from edgecritic_train.embedded.muon import Muon, orthogonalised

SHAPES = [(8, 8), (8, 8), (24, 8), (8, 24)]


def matrices():
    generator = torch.Generator().manual_seed(3)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def test_it_takes_the_steps_of_torchs_muon():
    ours, theirs = matrices(), matrices()
    rates = {"lr": 3e-2, "weight_decay": 0.1}
    mine = Muon(ours, **rates)
    reference = torch.optim.Muon(theirs, momentum=0.95, adjust_lr_fn="match_rms_adamw", **rates)
    for step in range(5):
        for parameters, optimizer in ((ours, mine), (theirs, reference)):
            generator = torch.Generator().manual_seed(step)
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
    for start, one, other in zip(matrices(), ours, theirs, strict=True):
        assert (one - start).abs().max() > 0.05
        # Both iterate in bfloat16 and round at different places.
        torch.testing.assert_close(one, other, atol=3e-3, rtol=0)


def test_singular_values_come_near_one():
    made = orthogonalised(torch.randn(3, 32, 48, generator=torch.Generator().manual_seed(0)))
    values = torch.linalg.svdvals(made.float())
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_its_momentum_survives_a_checkpoint():
    first, second = matrices(), matrices()
    one, two = Muon(first), Muon(second)
    for parameter in first:
        parameter.grad = torch.ones_like(parameter)
    one.step()
    two.load_state_dict(one.state_dict())
    kept = two.state[second[0]]["momentum"]
    assert torch.equal(kept, one.state[first[0]]["momentum"])
    assert kept.abs().max() > 0


def test_only_matrices_are_taken():
    with pytest.raises(ValueError, match=r"not shape \(4,\)"):
        Muon([torch.nn.Parameter(torch.zeros(4))])
