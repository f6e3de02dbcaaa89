import json

import pytest
import torch

from edgecritic_train.embedded.config import StageBudget
from edgecritic_train.embedded.loop import LOG_EVERY, Stage, learning_rate


def test_the_rate_climbs_with_the_steps_however_long_the_first_one_took():
    slow_start = [learning_rate(0.09, step, 100) for step in range(100)]
    assert slow_start[0] == pytest.approx(slow_start[-1] / 100)
    assert slow_start == sorted(slow_start)


def test_the_rate_is_never_zero_and_ends_at_two_percent():
    assert learning_rate(0.0, 0, 200) == pytest.approx(1 / 200)
    assert learning_rate(0.0, 199, 200) == pytest.approx(1)
    assert learning_rate(1.0, 10_000, 200) == pytest.approx(0.02)
    assert learning_rate(1.3, 10_000, 200) == pytest.approx(0.02)


def test_a_metric_that_no_batch_defines_is_left_out_of_the_log(tmp_path):
    linear = torch.nn.Linear(2, 1)
    groups = [{"params": list(linear.parameters()), "lr": 1e-3}]
    stage = Stage("align", tmp_path, {"linear": linear}, groups, StageBudget(60, 1, 0, 1e-3))
    for _ in range(LOG_EVERY):
        undefined = torch.tensor(float("nan"))
        stage.step(linear(torch.ones(1, 2)).square().mean(), {"digit": undefined})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    entry = json.loads(line, parse_constant=pytest.fail)
    assert "digit" not in entry
    assert entry["loss"] > 0
