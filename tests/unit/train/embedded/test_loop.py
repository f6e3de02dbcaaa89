import pytest

pytest.importorskip("torch")

from edgecritic_train.embedded.loop import learning_rate


def test_the_rate_climbs_with_the_steps_however_long_the_first_one_took():
    slow_start = [learning_rate(0.09, step, 100) for step in range(100)]
    assert slow_start[0] == pytest.approx(slow_start[-1] / 100)
    assert slow_start == sorted(slow_start)


def test_the_rate_is_never_zero_and_ends_at_two_percent():
    assert learning_rate(0.0, 0, 200) == pytest.approx(1 / 200)
    assert learning_rate(0.0, 199, 200) == pytest.approx(1)
    assert learning_rate(1.0, 10_000, 200) == pytest.approx(0.02)
    assert learning_rate(1.3, 10_000, 200) == pytest.approx(0.02)
