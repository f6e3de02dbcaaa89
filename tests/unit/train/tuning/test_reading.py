"""Verdicts read while training are those that the runtime reads afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from edgecritic import Critic
from edgecritic.prompts import load_dialect
from edgecritic.task import Rubric
from edgecritic.verdict import Preference, Verdict
from edgecritic_train.critic_data.rows import read_rows
from edgecritic_train.tuning.agreement import agreement, correlation, ranks
from edgecritic_train.tuning.base import load_base, open_base
from edgecritic_train.tuning.examples import ExampleMaker
from edgecritic_train.tuning.reading import Judgement, Room, VerdictReader, _Asked
from tiny_engines import write_hf_bundle
from tiny_tuning import FAMILIES, Configure


@pytest.mark.parametrize("family", FAMILIES)
def test_verdicts_are_those_of_the_runtime(
    configure: Configure, bases: dict[str, Path], rows: Path, tmp_path: Path, family: str
) -> None:
    config = configure(family)
    base = open_base(config)
    maker = ExampleMaker(base, load_dialect(config.data.dialect))
    reader = VerdictReader(load_base(base, config).eval(), base, maker, torch.float32, Room(4))
    bundle = write_hf_bundle(bases[family], tmp_path / "bundle")
    with Critic.load(bundle.folder, backend="hf") as critic:
        for judgement in reader.judge(list(read_rows(rows))[:6]):
            row, found = judgement.row, judgement.found
            image = row.image_sources[0]
            if isinstance(found, Verdict):
                wanted = critic.score(
                    image, row.question, row.responses[0], rationale=False, wording=row.wording
                )
                assert isinstance(wanted, Verdict)
                assert found.mass == pytest.approx(wanted.mass, rel=1e-3)
                assert found.level == wanted.level
            else:
                both = critic.compare(image, row.question, *row.responses, rationale=False)
                assert isinstance(both, Preference)
                assert found.winner == both.winner
                for one, other in zip(found.orders, both.orders, strict=True):
                    assert one.mass == pytest.approx(other.mass, rel=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_joint_probabilities_are_those_of_whole_rows(
    configure: Configure, rows: Path, family: str
) -> None:
    """Each verdict spelled out and computed anew, without a cache."""
    config = configure(family)
    base = open_base(config)
    model = load_base(base, config).eval()
    maker = ExampleMaker(base, load_dialect(config.data.dialect))
    reader = VerdictReader(model, base, maker, torch.float32, Room())
    row = next(row for row in read_rows(rows) if row.setting == "pointwise")
    from edgecritic.prompts import render
    from edgecritic.vision import load_image

    image = load_image(row.image_sources[0])
    picture = base.eye.look(image, single=False)
    prompt = render(row.task, maker.dialect, row.wording)
    start = maker.prompt(prompt, [(image.height, image.width)])
    trie = maker.trie(prompt.answers)
    wanted = []
    for path in trie.paths:
        tokens = torch.tensor([[*start, *trie.forced, *path]])
        inputs = base.eye.inputs([[picture]], tokens, torch.float32)
        with torch.no_grad():
            logits = model(input_ids=tokens, **inputs).logits[0].log_softmax(-1)
        places = range(tokens.shape[1] - len(path) - 1, tokens.shape[1] - 1)
        wanted.append(sum(float(logits[k, tokens[0, k + 1]]) for k in places))
    asked: _Asked = reader._asked(0, row, row.task)
    assert asked.tokens.tolist() == [*start, *trie.forced]
    assert np.allclose(reader._joints([asked])[0], wanted, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shares", [True, False])
def test_rows_that_are_judged_together_get_the_same_verdicts(
    configure: Configure, rows: Path, family: str, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several of a picture, several pictures, none, two, and scales of many levels."""
    config = configure(family)
    base = open_base(config)
    model = load_base(base, config).eval()
    maker = ExampleMaker(base, load_dialect(config.data.dialect))
    asked = list(read_rows(rows))[:8]
    score = next(row for row in asked if row.setting == "pointwise")
    wide = replace(score, id="wide", rubric=Rubric(0, 100), verdict=70)
    blind = replace(asked[0], id="blind", images=())
    several = replace(score, id="several", images=asked[0].images + asked[4].images)
    asked = [several, *asked, wide, asked[0], blind]
    apart = VerdictReader(model, base, maker, torch.float32, Room())
    apart._shares = False
    alone = [apart.judge([row])[0].found for row in asked]
    reader = VerdictReader(model, base, maker, torch.float32, Room(3, 2048))
    reader._shares = shares
    computed: list[torch.Size] = []
    forward = model.model.forward

    def counted(*args: object, **kwargs: Any) -> object:
        computed.append(kwargs["input_ids"].shape)
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.model, "forward", counted)
    found = reader.judge(asked)
    assert [judgement.row for judgement in found] == asked
    for one, other in zip(alone, (judgement.found for judgement in found), strict=True):
        told = [dict(verdict.probabilities) for verdict in (one, other)]
        assert told[0] == pytest.approx(told[1], abs=1e-4)
        for a, b in zip(
            getattr(one, "orders", [one]), getattr(other, "orders", [other]), strict=True
        ):
            assert a.mass == pytest.approx(b.mass, rel=1e-3)
    assert all(1 <= n_rows <= 3 for n_rows, _ in computed)
    assert any(n_rows == 3 for n_rows, _ in computed)
    if shares:
        assert len(computed) < 4


def test_metrics_agree_with_scipy() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 6, (2, 40)).astype(np.float64)
    assert correlation(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)
    assert correlation(ranks(x), ranks(y)) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert correlation(x, np.ones(40)) == 0


def test_agreement_counts_what_was_judged(rows: Path) -> None:
    found = []
    for row in read_rows(rows):
        if row.setting == "pairwise":
            winner = row.verdict if row.id != "pair-0" else "tie"
            found.append(Judgement(row, Preference("ok", winner, {}, 1.0, row.id != "pair-1", ())))
        else:
            score = None if row.id == "score-0" else float(row.verdict)
            status = "unparsed" if score is None else "ok"
            level = None if score is None else row.verdict
            found.append(Judgement(row, Verdict(status, score, level, {}, None, 1.0)))
    metrics = agreement(found)
    assert metrics["pairwise_accuracy"] == pytest.approx(11 / 12)
    assert metrics["position_consistency"] == pytest.approx(11 / 12)
    assert metrics["level_accuracy"] == pytest.approx(11 / 12)
    assert metrics["unparsed"] == pytest.approx(1 / 24)
    mean = (metrics["pairwise_accuracy"] + metrics["pearson"]) / 2
    assert metrics["agreement"] == pytest.approx(mean)
    assert "pearson" not in agreement([j for j in found if isinstance(j.found, Preference)])
