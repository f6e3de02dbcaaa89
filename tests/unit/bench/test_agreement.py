"""The algebra of the metrics, on judgements whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss, cohen_kappa_score

from edgecritic_bench.agreement import agreement, by_kind
from edgecritic_bench.calibration import Calibration, fit
from edgecritic_bench.records import N_LEVELS, WINNERS, PairwiseRecord, PointwiseRecord, Record
from edgecritic_bench.tables import expected_levels, reconciled, winners

NONE = Calibration()
SURE, NEVER = -1e-9, -30.0


def peaked(n: int, index: int) -> tuple[float, ...]:
    return tuple(SURE if i == index else NEVER for i in range(n))


def perfect(record: Record) -> Record:
    """The same row, judged as gold has it."""
    if isinstance(record, PairwiseRecord):
        told = peaked(3, WINNERS.index(record.winner))
        return replace(record, orders=(told, told))
    return replace(record, log_probs=peaked(N_LEVELS, record.gold - 1))


def inverted(record: Record) -> Record:
    """The same row, judged as wrongly as can be."""
    if isinstance(record, PairwiseRecord):
        told = peaked(3, {"first": 1, "second": 0, "tie": 0}[record.winner])
        return replace(record, orders=(told, told))
    return replace(record, log_probs=peaked(N_LEVELS, 10 - record.gold))


def values(records: list[Record], calibration: Calibration = NONE) -> dict[str, float]:
    found = agreement(records, calibration)
    return {name: estimate.value for name, estimate in found.estimates.items()}


def test_a_perfect_critic_is_perfect(simulate):
    found = values([perfect(record) for record in simulate(20)])
    for name in ("pairs", "twins", "pairs_ties", "text_pairs", "consistent", "exact", "within_1"):
        assert found[name] == 1, name
    assert found["right_beats_wrong"] == 1
    assert found["swapped"] == 0
    assert found["first_shown"] == pytest.approx(0.5)
    assert found["spearman"] == pytest.approx(1)
    for name in ("mae", "pair_ece", "level_ece"):
        assert found[name] == pytest.approx(0, abs=1e-6), name


def test_an_inverted_critic_is_as_wrong_as_can_be(simulate):
    found = values([inverted(record) for record in simulate(20)])
    for name in ("pairs", "twins", "pairs_ties", "text_pairs", "right_beats_wrong"):
        assert found[name] == 0, name
    assert found["swapped"] == 1
    assert found["consistent"] == 1
    assert found["spearman"] < -0.9
    assert found["pair_ece"] == pytest.approx(1, abs=1e-6)


def mirrored(record: Record) -> Record:
    """Pairs with first and second exchanged throughout: labels, gold, log-probs."""
    if isinstance(record, PointwiseRecord):
        return record
    given, swapped = record.orders
    assert given is not None
    assert swapped is not None
    other = {"first": "second", "second": "first", "tie": "tie"}
    return replace(
        record,
        first=record.second,
        second=record.first,
        winner=other[record.winner],
        # What stood first in the given order stands first in the swapped one now.
        orders=((swapped[1], swapped[0], swapped[2]), (given[1], given[0], given[2])),
    )


def test_exchanging_first_and_second_changes_nothing(simulate, skill):
    records = simulate(30, skill=skill(position=0.7))
    assert values([mirrored(record) for record in records]) == pytest.approx(values(records))


def test_reordering_rows_changes_nothing(simulate):
    records = simulate(30)
    shuffled = [records[i] for i in np.random.default_rng(2).permutation(len(records))]
    one, other = agreement(records, NONE), agreement(shuffled, NONE)
    for name, estimate in one.estimates.items():
        assert other.estimates[name].value == pytest.approx(estimate.value), name
        assert other.estimates[name].low == pytest.approx(estimate.low), name


def test_the_temperature_moves_no_winner(simulate, skill):
    records = simulate(30, skill=skill(position=0.5))
    one, other = values(records), values(records, Calibration(pairwise_temperature=3.0))
    for name in ("pairs", "twins", "pairs_ties", "blank", "consistent", "swapped"):
        assert one[name] == other[name], name
    assert other["lead_right"] < one["lead_right"]


def test_a_critic_that_never_looks_is_found_out(simulate):
    """Every picture judged as the grey one: half of the pairs, none of the twins."""
    records = simulate(80)
    blank = {
        (r.place.item, r.place.side, r.key[1:], type(r)): r
        for r in records
        if r.place.condition == "blank"
    }
    blind = []
    for record in records:
        seen = blank[record.place.item, record.place.side, record.key[1:], type(record)]
        if isinstance(record, PairwiseRecord):
            blind.append(replace(record, orders=seen.orders))
        else:
            blind.append(replace(record, log_probs=seen.log_probs))
    found = values(blind)
    assert found["pairs"] == pytest.approx(0.5)
    assert found["blank"] == pytest.approx(0.5)
    assert found["swapped"] == pytest.approx(0.5)
    assert found["twins"] == 0
    assert found["right_beats_wrong"] == pytest.approx(0.5)
    assert found["lead_right"] == pytest.approx(found["lead_blank"])
    # The texts alone tell refusals from answers: that is why the plain correlation says little.
    assert found["spearman"] > 0.2
    assert found["spearman"] == pytest.approx(found["spearman_blank"])
    assert abs(found["spearman_moved"]) < 0.15


def test_a_skilled_critic_beats_a_poor_one(simulate, skill):
    good, poor = values(simulate(60, skill=skill(0.9))), values(simulate(60, skill=skill(0.1)))
    for name in ("pairs", "twins", "pairs_ties", "right_beats_wrong", "spearman", "spearman_moved"):
        assert good[name] > poor[name], name
    assert good["mae"] < poor["mae"]


@pytest.mark.parametrize("position", [-1.0, 0.0, 1.0])
def test_a_pull_of_the_position_shows_and_cancels(simulate, skill, position):
    found = values(simulate(60, skill=skill(position=position)))
    neutral = values(simulate(60))
    assert np.sign(found["first_shown"] - 0.5) == np.sign(position)
    assert found["pairs"] == neutral["pairs"]
    if position:
        assert found["consistent"] < neutral["consistent"]


def test_ties_need_their_margin(simulate):
    records = simulate(120)
    fitted = fit(simulate(120, seed=1))
    assert fitted.tie_margin > 0
    assert values(records, fitted)["pairs_ties"] > values(records)["pairs_ties"]


def test_unread_verdicts_are_counted_and_left_out(simulate):
    records = simulate(20)
    spoilt = [
        replace(r, orders=(None, r.orders[1]), mass=(0.1, 0.9))
        if isinstance(r, PairwiseRecord) and r.place.item == "T0-000003"
        else r
        for r in records
    ]
    found = agreement(spoilt, NONE)
    assert found.unparsed == 2 * 2 * 7
    assert found.judged == len(records)
    assert found.estimates["pairs"].n_items == 19


def test_kinds_part_the_rows(simulate):
    records = simulate(30)
    kinds = by_kind(records, NONE)
    assert list(kinds) == ["digit", "object"]
    whole = agreement(records, NONE)
    assert sum(kind.judged for kind in kinds.values()) == whole.judged
    parts = [kind.estimates["pairs"] for kind in kinds.values()]
    assert sum(part.value * part.n for part in parts) == pytest.approx(
        whole.estimates["pairs"].value * whole.estimates["pairs"].n
    )


def test_records_of_one_setting_are_enough(simulate):
    records = simulate(10)
    only = [r for r in records if isinstance(r, PointwiseRecord) and r.place.condition == "right"]
    found = agreement(only, NONE).estimates
    assert found["mae"].n == len(only)
    assert found["pairs"].n == 0
    assert np.isnan(found["pairs"].value)
    assert np.isnan(found["spearman_blank"].value)
    assert agreement([], NONE).judged == 0


def test_the_runtime_reconciles_and_decides_the_same_way():
    """The bench has its own vectorised arithmetic; it must say what users see."""
    from edgecritic.debias import OUTCOMES, reconcile, winner
    from edgecritic_bench.tables import PairTable, log_softmax, reconciled, winners

    rng = np.random.default_rng(6)
    orders = log_softmax(rng.normal(0, 2, (200, 2, 3)))
    names, zeros = np.array(["x"] * 200), np.zeros(200, int)
    table = PairTable(
        names, names, names, zeros, zeros == 1, zeros, zeros, zeros, zeros == 0, orders
    )
    ours = reconciled(table)
    for margin in (0.0, 0.8):
        predicted = winners(ours, margin)
        for row in range(200):
            theirs = reconcile(list(orders[row]))
            assert ours[row] == pytest.approx(theirs)
            assert OUTCOMES[predicted[row]] == winner(theirs, margin)


def test_chance_corrected_numbers_are_those_of_the_libraries(simulate):
    calibration = Calibration(pairwise_temperature=1.3, pointwise_temperature=0.9, tie_margin=0.4)
    found = agreement(simulate(60), calibration)
    pairs, scores = found.pairs, found.scores
    log_probs = reconciled(pairs, 1.3)
    three_way = winners(log_probs, 0.4)
    estimates = {name: estimate.value for name, estimate in found.estimates.items()}
    assert estimates["pairs_kappa"] == pytest.approx(cohen_kappa_score(three_way, pairs.gold))
    brier = brier_score_loss(pairs.gold, np.exp(log_probs), labels=[0, 1, 2], scale_by_half=False)
    assert estimates["pair_brier"] == pytest.approx(brier)
    expected = expected_levels(scores.log_probs, 0.9)
    assert estimates["pearson"] == pytest.approx(stats.pearsonr(expected, scores.gold).statistic)
    level = scores.log_probs.argmax(axis=1) + 1
    weighted = cohen_kappa_score(level, scores.gold, weights="quadratic", labels=range(1, 11))
    assert estimates["level_kappa"] == pytest.approx(weighted)
    sure = np.exp(log_probs.max(axis=1))
    hit = log_probs.argmax(axis=1) == pairs.gold
    shares = [(sure >= t).mean() for t in sure if hit[sure >= t].mean() >= 0.9]
    assert estimates["covered_90"] == pytest.approx(max(shares, default=0))
