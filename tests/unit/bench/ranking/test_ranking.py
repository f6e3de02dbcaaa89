"""Rankings replayed over judged pairs, and the page that they make."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgecritic import AdaptivePlan, InputError, Ranking
from edgecritic.verdict import OrderVerdict, Preference
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.ranking.matrices import Judged, leads_of, read
from edgecritic_bench.ranking.page import ranking_page
from edgecritic_bench.ranking.replay import Summary, replay
from edgecritic_bench.ranking.simulated import CRITICS, simulate

DECIDED = CRITICS[0]


def test_leads_are_told_by_who_was_shown_first() -> None:
    given = OrderVerdict("first", "first", {"first": 0.7, "second": 0.2, "tie": 0.1}, 1.0)
    swapped = OrderVerdict("second", "second", {"first": 0.1, "second": 0.5, "tie": 0.4}, 1.0)
    preference = Preference("ok", "first", {}, None, False, (given, swapped))
    leads = leads_of(Ranking("ok", (0, 1), (0.1, -0.1), ((0, 1, preference),)))
    assert leads == pytest.approx(np.array([[0, 0.5], [0.4, 0]]))
    rewards = Judged("q", "T0", leads).rewards
    assert rewards == pytest.approx([0.1, -0.1])


def test_all_pairs_agree_with_themselves() -> None:
    for judged in simulate(DECIDED, 4, 5):
        found = replay(judged, AdaptivePlan(confidence=1.1))
        assert (found.judgements, found.confidence) == (12, 1)
        assert found.agrees
        assert found.same_order
        assert found.turned == 0


def test_a_decided_critic_is_asked_less_and_a_guessing_one_more() -> None:
    decided, guessing = (
        Summary.of([replay(judged, AdaptivePlan()) for judged in simulate(critic, 5, 10)])
        for critic in (DECIDED, CRITICS[-1])
    )
    assert decided.judgements <= 10 < guessing.judgements
    low, high = decided.agree_interval
    assert low <= decided.agree <= high


def test_the_page_holds_every_group(tmp_path: Path) -> None:
    path = tmp_path / "judged.jsonl"
    lines = [
        {"name": judged.name, "group": group, "leads": judged.leads.tolist()}
        for group in ("T0", "T1")
        for judged in simulate(DECIDED, 3, 3)
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    judged = read(path)
    assert len(judged) == 6
    page = ranking_page(judged, 2, Provenance("machine", "system", (), "date", "command"))
    for row in ("| T0 | 3 |", "| T1 | 3 |", "| all | 6 |", f"| {DECIDED.name} | 2 |"):
        assert row in page
    assert "$" not in page
    path.write_text("{}")
    with pytest.raises(InputError, match="no judged rankings"):
        read(path)
