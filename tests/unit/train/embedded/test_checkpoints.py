"""A stage that was cut off goes on exactly where its last checkpoint was."""

import math

import pytest
import torch

from edgecritic_train.embedded.config import StageBudget
from edgecritic_train.embedded.loop import LOG_EVERY, Stage, TrainingDivergedError

BUDGET = StageBudget(seconds=1000, batch=4, lr_tower=1e-2, lr_projector=1e-2)


class Clock:
    """A `time` whose seconds pass when the test says so."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    made = Clock()
    # Not `time.monotonic` itself: other threads' event loops would wait by this clock, for hours.
    monkeypatch.setattr("edgecritic_train.embedded.loop.time", made)
    return made


def opened(folder):
    torch.manual_seed(0)
    module = torch.nn.Linear(6, 3)
    groups = [{"params": [module.weight], "lr": 1e-2}, {"params": [module.bias], "lr": 1e-3}]
    return module, Stage("tiny", folder, {"module": module}, groups, BUDGET)


def train(module, stage, clock, n):
    for _ in range(n):
        clock.now += 1
        inputs = torch.randn(8, 6, generator=torch.Generator().manual_seed(stage.steps))
        stage.step(module(inputs).pow(2).mean(), {})


def test_a_resumed_stage_ends_where_an_unbroken_one_does(tmp_path, clock):
    module, stage = opened(tmp_path / "unbroken")
    train(module, stage, clock, 50)
    expected = module.weight.detach().clone()

    module, stage = opened(tmp_path / "cut")
    train(module, stage, clock, 20)
    stage.save()
    train(module, stage, clock, 7)  # lost: not saved
    again, resumed = opened(tmp_path / "cut")
    assert (resumed.steps, resumed.elapsed) == (20, 20)
    train(again, resumed, clock, 30)
    assert torch.equal(again.weight, expected)


def test_a_save_that_breaks_off_leaves_the_checkpoint_before(tmp_path, clock, monkeypatch):
    module, stage = opened(tmp_path)
    train(module, stage, clock, 3)
    stage.save()
    train(module, stage, clock, 3)

    def torn(state, file):
        file.write(b"half a checkpoint")
        raise OSError("no space left on device")

    monkeypatch.setattr("edgecritic_train.embedded.loop.torch.save", torn)
    with pytest.raises(OSError, match="no space"):
        stage.save()
    monkeypatch.undo()
    _, resumed = opened(tmp_path)
    assert resumed.steps == 3
    resumed.save()
    assert [path.name for path in tmp_path.glob("*.tmp")] == []


def test_a_stage_saves_once_a_minute_and_at_its_end(tmp_path, clock):
    module, stage = opened(tmp_path)
    train(module, stage, clock, 60)
    assert not stage.path.exists()
    train(module, stage, clock, 1)
    assert stage.path.exists()
    clock.now += 2000
    train(module, stage, clock, 1)
    assert not stage.running
    assert not opened(tmp_path)[1].running


def test_a_loss_that_is_not_finite_stops_the_stage(tmp_path, clock):
    module, stage = opened(tmp_path)
    train(module, stage, clock, 5)
    stage.save()
    for _ in range(LOG_EVERY - 6):
        stage.step(module.weight.sum() * math.nan, {})
    with pytest.raises(TrainingDivergedError, match="stage tiny: the loss is nan") as caught:
        stage.step(module.weight.sum() * math.nan, {})
    assert "tiny.pt" in caught.value.hint
    assert opened(tmp_path)[1].steps == 5


def test_what_has_diverged_does_not_replace_the_last_checkpoint(tmp_path, clock):
    module, stage = opened(tmp_path)
    train(module, stage, clock, 5)
    stage.save()
    clock.now += 100  # a save is due
    with pytest.raises(TrainingDivergedError, match="at step 6"):
        stage.step(module.weight.sum() * math.nan, {})
    assert opened(tmp_path)[1].steps == 5
