"""Rewards, cycles, flips, and which pairs the filters leave."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic_train.rounds.config import SelectionSettings
from edgecritic_train.rounds.entries import Choice, Match, Ranked
from edgecritic_train.rounds.rewards import beaten, flips, has_cycle, rewards
from edgecritic_train.rounds.selecting import FILTERS, balanced, choose

WINNERS = ("first", "second", "tie")
LEADS = {"first": 0.8, "second": -0.8, "tie": 0.0}


def match(i: int, j: int, given_: str, swapped: str | None = None, winner: str = "") -> Match:
    verdicts: Any = (given_, swapped or given_)
    decided: Any = winner or (given_ if verdicts[0] == verdicts[1] else "tie")
    return Match(i, j, verdicts, (LEADS[verdicts[0]], LEADS[verdicts[1]]), decided)


def ranked(*matches: Match, counts: Any = None, tokens: Any = None, n: int = 3) -> Ranked:
    counts, tokens = counts or (1,) * n, tokens or (5,) * n
    names = tuple("abcdefg"[:n])
    return Ranked("key", "q", "ok", "critic", names, counts, tokens, matches)


CHAIN = (match(0, 1, "first"), match(0, 2, "first"), match(1, 2, "first"))
CYCLE = (match(0, 1, "first"), match(0, 2, "second"), match(1, 2, "first"))


@given(st.data())
def test_rewards_are_wins_minus_losses_over_all_ordered_pairs(data: st.DataObject) -> None:
    """Against counting in the K x K table of verdicts, duplicates written out."""
    n = data.draw(st.integers(2, 4))
    counts = tuple(data.draw(st.integers(1, 3)) for _ in range(n))
    matches = tuple(
        match(i, j, data.draw(st.sampled_from(WINNERS)), data.draw(st.sampled_from(WINNERS)))
        for i, j in combinations(range(n), 2)
    )
    table = {}  # (shown first, shown second) -> which of the two responses won
    for m in matches:
        by_name = {"first": m.i, "second": m.j, "tie": None}
        table[m.i, m.j], table[m.j, m.i] = (by_name[v] for v in m.verdicts)
    samples = [k for k, count in enumerate(counts) for _ in range(count)]
    expected = [0.0] * n
    for place, other in permutations(range(len(samples)), 2):
        one, two = samples[place], samples[other]
        winner = None if one == two else table[one, two]
        if winner is not None and place == samples.index(one):
            expected[one] += 1 if winner == one else -1
        if winner is not None and other == samples.index(two):
            expected[two] += 1 if winner == two else -1
    entry = ranked(*matches, counts=counts, n=n)
    found = rewards(entry, "wins")
    assert list(found) == expected
    assert all(abs(value) <= 2 * (sum(counts) - 1) for value in found)
    weighed = sum(
        c * value for c, value in zip(counts, rewards(entry, "probabilities"), strict=True)
    )
    assert weighed == pytest.approx(0)


def test_cycles_and_flips() -> None:
    assert not has_cycle(ranked(*CHAIN))
    assert has_cycle(ranked(*CYCLE))
    assert beaten(3, CHAIN) == (frozenset({1, 2}), frozenset({2}), frozenset())
    assert flips((match(0, 1, "first", "second"), match(0, 2, "tie"))) == 1


def test_the_best_goes_against_the_worst() -> None:
    choice = choose(ranked(*CHAIN), SelectionSettings())
    assert (choice.chosen, choice.rejected, choice.dropped) == ("a", "c", "")
    assert choice.rewards == (4.0, -4.0)


# b and d win both orders of what a loses only one of: the sums say a > d, the verdicts d > ... > a.
ROUNDABOUT = (
    *(match(0, 1, "first"), match(0, 2, "first"), match(0, 3, "second")),
    *(match(1, 2, "first"), match(1, 3, "first"), match(2, 3, "first")),
)


@pytest.mark.parametrize(
    ("entry", "changes", "why"),
    [
        (ranked(n=1), {}, "unfinished"),
        (ranked(n=1, counts=(5,)), {}, "duplicates"),
        (Ranked("k", "q", "unparsed", "c", ("a", "b"), (1, 1), (5, 5)), {}, "unjudged"),
        (Ranked("k", "q", "refused", "c", ("a", "b"), (1, 1), (5, 5)), {}, "unjudged"),
        (ranked(match(0, 1, "tie"), n=2), {}, "tie"),
        (ranked(match(0, 1, "first", "tie", "tie"), n=2), {}, "tie"),
        (ranked(match(0, 1, "first"), n=2), {"margin": 5.0}, "margin"),
        (ranked(*ROUNDABOUT, n=4), {}, "cycle"),
        (ranked(*ROUNDABOUT, n=4), {"cycles": False}, ""),
        (ranked(match(0, 1, "first"), n=2, tokens=(50, 5)), {}, "length"),
        (ranked(match(0, 1, "first"), n=2, tokens=(5, 50)), {}, "length"),
        (ranked(match(0, 1, "first"), n=2, tokens=(5, 50)), {"length_ratio": 10.0}, ""),
    ],
)
def test_each_filter_stops_what_it_is_for(entry: Ranked, changes: Any, why: str) -> None:
    assert choose(entry, SelectionSettings(**changes)).dropped == why
    assert not why or why in FILTERS


def test_of_equal_wins_the_surer_one_is_the_best() -> None:
    sure = Match(1, 2, ("first", "first"), (0.9, 0.9), "first")
    entry = ranked(match(0, 1, "tie"), match(0, 2, "first"), sure)
    choice = choose(entry, SelectionSettings())
    assert (choice.chosen, choice.rejected) == ("b", "c")


def pair(key: int, margin: float, tokens: tuple[int, int]) -> Choice:
    return Choice(str(key), "q", "", "good", "bad", (margin, 0.0), tokens)


@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from([0.55, 0.65, 0.8, 1.0]))
def test_the_longer_answer_is_not_chosen_too_often(longer: int, others: int, share: float) -> None:
    choices = [pair(k, k, (9, 5)) for k in range(longer)]
    choices += [pair(100 + k, k, (5, 5 + k % 2)) for k in range(others)]
    found = balanced(choices, share)
    kept = [c for c in found if not c.dropped]
    n_longer = sum(c.tokens[0] > c.tokens[1] for c in kept)
    assert n_longer <= share * len(kept)
    assert len(kept) - n_longer == others
    if n_longer < longer:  # one more would be too many
        assert n_longer + 1 > share * (len(kept) + 1)
    # Those with the largest margins stay.
    assert {c.key for c in kept} >= {str(k) for k in range(longer - n_longer, longer)}
