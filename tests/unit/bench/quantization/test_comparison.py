"""Arms against each other: what must hold by algebra, and simulated noise that must be found."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.quantization.columns import (
    UNREAD,
    Settings,
    on_ten,
    pair_columns,
    score_columns,
)
from edgecritic_bench.quantization.comparison import changes, compare_pairs, compare_scores
from edgecritic_bench.quantization.journal import Judged, row_digest
from edgecritic_bench.quantization.quality import pair_quality, score_quality
from edgecritic_bench.quantization.results import judged_arms
from edgecritic_bench.quantization.words import drift

EVEN = Settings()


def test_an_arm_against_itself(run):
    arm = judged_arms(run)[0]
    pairs, scores = (
        compare_pairs(arm.pairs, arm.pairs, 0.02),
        compare_scores(arm.scores, arm.scores, 0.02),
    )
    assert pairs is not None
    assert scores is not None
    assert (pairs.changed.value, pairs.flips.lost, pairs.flips.won) == (0, 0, 0)
    assert pairs.kappa.value == 1
    assert pairs.kl.value == scores.kl.value == scores.moved.value == scores.shift.value == 0
    assert scores.pearson.value == pytest.approx(1)
    matrix = np.array(scores.matrix)
    assert matrix.sum() == len(arm.scores) == np.trace(matrix)


def test_flips_agree_with_accuracies_and_turn_round(run):
    reference, *_, worst = judged_arms(run)
    there = compare_pairs(reference.pairs, worst.pairs, 0.02)
    back = compare_pairs(worst.pairs, reference.pairs, 0.02)
    assert there is not None
    assert back is not None
    assert (there.flips.lost, there.flips.won) == (back.flips.won, back.flips.lost)
    gained = worst.pairs.hits.mean() - reference.pairs.hits.mean()
    assert (there.flips.won - there.flips.lost) / there.flips.n == pytest.approx(gained)
    assert there.claim is not None
    assert there.claim.difference.value == pytest.approx(gained)
    by_category = changes(
        (reference.pairs, worst.pairs), (reference.scores, worst.scores), "category"
    )
    rows = sum(change.winners.n for change in by_category.values())
    flipped = sum(change.winners.n * change.winners.value for change in by_category.values())
    assert flipped / rows == pytest.approx(there.changed.value)


def test_more_noise_is_more_of_everything(report):
    arms = {arm["arm"]["name"]: arm for arm in report["arms"]}
    quantized = [arms[name]["reference"] for name in ("gguf F16", "gguf Q4_K_M", "gguf Q2_K")]
    for setting, key in (("pairs", "changed"), ("pairs", "kl"), ("scores", "moved")):
        values = [found[setting][key]["value"] for found in quantized]
        assert values == sorted(values), key
    assert quantized[0]["scores"]["same_level"]["value"] > 0.9
    # The reference is compared with nobody, full precision with the reference alone.
    assert arms["reference"]["reference"] is None
    assert arms["gguf F16"]["base"] is None
    assert arms["gguf Q2_K"]["base"]["name"] == "gguf F16"


def test_drift_is_split(report):
    arms = {arm["arm"]["name"]: arm for arm in report["arms"]}
    found = drift(arms["gguf Q2_K"], arms)
    assert found["noise"] == arms["re-run"]["reference"]["pairs"]["changed"]["value"]
    assert found["runtime"] == arms["gguf F16"]["reference"]["pairs"]["changed"]["value"]
    assert found["quantization"] == arms["gguf Q2_K"]["base"]["pairs"]["changed"]["value"]
    assert found["in all"] <= found["runtime"] + found["quantization"] + 1e-12
    full = drift(arms["gguf F16"], arms)
    assert full["runtime"] == full["in all"]
    assert math.isnan(full["quantization"])


def test_unread_verdicts_are_wrong_and_counted(run):
    arm = judged_arms(run)[0]
    rows = [row for row in run.rows.sample if isinstance(row, PairRow)]
    judged = dict(arm.judged)
    for row in rows[:5]:
        one = judged[row_digest(row)]
        judged[one.digest] = replace(one, log_probs=(one.log_probs[0], None), mass=(0.9, 0.0))
    columns = pair_columns(rows, judged, EVEN)
    assert (columns.winner[:5] == UNREAD).all()
    assert not columns.hits[:5].any()
    quality = pair_quality(columns)
    assert quality is not None
    assert quality.unread == 5
    assert quality.metrics["accuracy with ties"].n == len(rows)
    compared = compare_pairs(arm.pairs, columns, 0.02)
    assert compared is not None
    assert compared.changed.value == pytest.approx(5 / len(rows))
    scores = [row for row in run.rows.sample if isinstance(row, ScoreRow)]
    lost = judged[row_digest(scores[0])]
    judged[lost.digest] = Judged(lost.digest, lost.row, "pointwise", (None,), (0.1,))
    unread = score_columns(scores, judged, EVEN)
    assert not unread.readable[0]
    told = score_quality(unread)
    assert told is not None
    assert (told.unread, told.metrics["MAE"].n) == (1, len(scores) - 1)
    moved = compare_scores(arm.scores, unread, 0.02)
    assert moved is not None
    assert moved.moved.value == 0


def test_levels_of_any_rubric_are_told_on_ten(run):
    row = next(row for row in run.rows.sample if isinstance(row, ScoreRow))
    five = replace(row, rubric=replace(row.rubric, low=1, high=5))
    assert [on_ten(level, five) for level in (1, 3, 5)] == [1, 5.5, 10]
    assert [on_ten(level, row) for level in (1, 5.5, 10)] == [1, 5.5, 10]
    # Row by row, so rubrics may differ in how many levels they have.
    log_probs = tuple(np.log([0.1, 0.1, 0.1, 0.1, 0.6]).tolist())
    judged = {row_digest(five): Judged(row_digest(five), "k", "pointwise", (log_probs,), (1.0,))}
    columns = score_columns([five], judged, EVEN)
    assert columns.score[0] == pytest.approx(1 + 9 * (4.0 - 1) / 4)
    assert columns.level[0] == 10


def test_a_temperature_and_a_margin_change_verdicts_as_the_runtime_does(run):
    arm = judged_arms(run)[0]
    rows = [row for row in run.rows.sample if isinstance(row, PairRow)]
    wide = pair_columns(rows, arm.judged, Settings(tie_margin=1.5))
    leads = np.abs(wide.log_probs[:, 0] - wide.log_probs[:, 1])
    assert (wide.winner[leads < 1.5] == 2).all()
    soft = pair_columns(rows, arm.judged, Settings(pairwise_temperature=3.0))
    assert (soft.winner == arm.pairs.winner).all()
    assert np.exp(soft.log_probs).max() < np.exp(arm.pairs.log_probs).max()


def test_few_items_claim_nothing(run):
    arm = judged_arms(run)[0]
    few = arm.pairs.item < 5
    columns = [
        getattr(arm.pairs, name)[few] for name in ("item", "category", "source", "gold", "winner")
    ]
    part = type(arm.pairs)(
        *columns,
        arm.pairs.log_probs[few],
        arm.pairs.orders[few],
        arm.pairs.mass[few],
        arm.pairs.lengths[few],
    )
    found = compare_pairs(part, part, 0.9)
    assert found is not None
    assert found.claim is not None
    assert found.claim.standing == "refused"
    assert "20 items" in found.claim.words
