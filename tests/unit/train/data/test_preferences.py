from __future__ import annotations

from collections import Counter

import pytest

from edgecritic_train.data.assets import Assets
from edgecritic_train.data.engine import generate
from edgecritic_train.data.items import Pair, TwinItem
from edgecritic_train.data.preferences import WINNING_GAP, preferences


@pytest.fixture(scope="module")
def items(assets: Assets) -> list[TwinItem]:
    return list(generate(assets, "train", seed=11, n=250))


@pytest.fixture(scope="module")
def pairs(items: list[TwinItem]) -> list[Pair]:
    return [pair for item in items for pair in preferences(item)]


def test_the_gold_winner_has_the_higher_score(pairs: list[Pair]) -> None:
    for pair in pairs:
        gap = pair.first.scores[pair.side] - pair.second.scores[pair.side]
        if pair.winner == "tie":
            assert gap == 0
        else:
            assert abs(gap) >= WINNING_GAP
            assert (gap > 0) == (pair.winner == "first")


def test_image_decided_pairs_turn_round_with_the_image(pairs: list[Pair]) -> None:
    seen: Counter[tuple[int, int, str]] = Counter()
    for pair in pairs:
        if pair.image_decided:
            seen[id(pair.first), id(pair.second), pair.winner] += 1
    for (first, second, winner), count in seen.items():
        other = "second" if winner == "first" else "first"
        assert winner != "tie"
        assert seen[first, second, other] == count == 1


def test_length_and_position_do_not_tell_the_winner(pairs: list[Pair]) -> None:
    decided = [pair for pair in pairs if pair.image_decided]
    undecided = [p for p in pairs if not p.image_decided and p.winner != "tie"]
    for rows in (decided, undecided):
        assert 0.4 <= _share(rows, lambda p: p.winner == "first") <= 0.6
        unequal = [p for p in rows if len(p.first.text) != len(p.second.text)]
        assert 0.4 <= _share(unequal, _longer_wins) <= 0.6


def test_shares_of_ties_and_of_text_decided_pairs(pairs: list[Pair]) -> None:
    assert 0.06 <= _share(pairs, lambda p: p.winner == "tie") <= 0.14
    assert _share(pairs, lambda p: p.image_decided) >= 0.6


def test_pairs_are_the_same_every_time(items: list[TwinItem]) -> None:
    assert list(preferences(items[0])) == list(preferences(items[0]))


def test_reasons_quote_the_fact_of_their_side(items: list[TwinItem]) -> None:
    for item in items[:80]:
        for pair in preferences(item):
            assert item.facts[pair.side].lower() in pair.reason.lower()


def _longer_wins(pair: Pair) -> bool:
    longer_first = len(pair.first.text) > len(pair.second.text)
    return longer_first == (pair.winner == "first")


def _share(rows: list[Pair], holds: object) -> float:
    assert callable(holds)
    return sum(bool(holds(row)) for row in rows) / len(rows)
