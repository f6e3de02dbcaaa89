"""Contradictions among preferences."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from edgecritic.judging.cycles import cycles
from edgecritic.verdict import Preference, Winner

WINNERS: tuple[Winner, ...] = ("first", "second", "tie")


def preferences(winners: Mapping[tuple[int, int], Winner]) -> list[tuple[int, int, Preference]]:
    return [(i, j, Preference("ok", w, {}, None, None, ())) for (i, j), w in winners.items()]


def test_a_circle_of_three_is_found() -> None:
    told = preferences({(0, 1): "first", (1, 2): "first", (0, 2): "second", (0, 3): "first"})
    assert cycles(4, told) == ((0, 1, 2),)


def test_ties_and_chains_contradict_nothing() -> None:
    told = preferences({(0, 1): "first", (1, 2): "first", (0, 2): "tie"})
    assert cycles(3, told) == ()


def test_two_groups_are_two_circles() -> None:
    three = {(0, 1): "first", (1, 2): "first", (0, 2): "second"}
    others = {(3, 4): "second", (4, 5): "second", (3, 5): "first"}
    bridge = {(0, 3): "first"}
    told = preferences({**three, **others, **bridge})
    assert cycles(6, told) == ((0, 1, 2), (3, 5, 4))


@given(st.integers(2, 6).flatmap(lambda n: st.tuples(st.just(n), st.data())))
def test_each_circle_holds_and_none_is_missed(drawn: tuple[int, st.DataObject]) -> None:
    n, data = drawn
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    winners = {pair: data.draw(st.sampled_from(WINNERS)) for pair in pairs}
    beats = {(i, j) if w == "first" else (j, i) for (i, j), w in winners.items() if w != "tie"}
    found = cycles(n, preferences(winners))
    for circle in found:
        assert set(zip(circle, (*circle[1:], circle[0]), strict=True)) <= beats
    # Without the responses of any circle's group what is left can be put into an order.
    left = set(range(n))
    while free := {i for i in left if not any((j, i) in beats for j in left)}:
        left -= free
    assert bool(left) == bool(found)
