from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecritic.errors import InputError
from edgecritic_train.data.assets import AssetError, Assets
from edgecritic_train.data.catalogue import KINDS, UnknownKindError, kinds_of
from edgecritic_train.data.engine import generate, item_at, main
from edgecritic_train.data.items import RIGHT_FROM, TwinItem
from edgecritic_train.data.responses import FAMILIES
from edgecritic_train.data.splits import SPLITS

ItemsOf = Callable[[str], list[TwinItem]]


@pytest.fixture(scope="module")
def items_of(assets: Assets) -> ItemsOf:
    made: dict[str, list[TwinItem]] = {}

    def items(split: str) -> list[TwinItem]:
        if split not in made:
            made[split] = list(generate(assets, split, seed=5, n=120))
        return made[split]

    return items


def _same(one: TwinItem, other: TwinItem) -> bool:
    pixels = all(
        np.array_equal(np.asarray(a), np.asarray(b))
        for a, b in zip(one.images, other.images, strict=True)
    )
    return pixels and (one.question, one.responses) == (other.question, other.responses)


def test_an_item_depends_on_split_seed_and_index_only(assets: Assets) -> None:
    row = list(generate(assets, "train", seed=3, n=12))
    assert _same(row[7], item_at(assets, "train", 3, 7))
    assert not _same(row[7], item_at(assets, "train", 4, 7))
    assert not _same(row[7], item_at(assets, "T0", 3, 7))


def test_emphasis_makes_a_kind_come_as_many_times_as_often(assets: Assets) -> None:
    factors = {kind.name: 1e-9 for kind in kinds_of("train")} | {"digit": 3.0, "card": 1.0}
    drawn = Counter(
        item_at(assets, "train", 3, index, emphasis=factors).kind for index in range(80)
    )
    assert set(drawn) == {"digit", "card"}
    assert 53 <= drawn["digit"] <= 79  # weights 5 x 3 against 3: 67, four deviations either way


@pytest.mark.parametrize("split", SPLITS)
def test_every_kind_draws_in_every_split_that_has_it(assets: Assets, split: str) -> None:
    for kind in kinds_of(split):
        for item in generate(assets, split, seed=1, n=2, kinds=[kind.name]):
            assert item.kind == kind.name
            assert item.facts[0] != item.facts[1]
            assert 4 <= len(item.responses) <= 8
            for image in item.images:
                assert image.mode == "RGB"
                assert min(image.size) >= 96
                assert max(image.size) <= 320


def test_every_kind_belongs_to_a_split() -> None:
    assert {kind.name for split in SPLITS for kind in kinds_of(split)} == set(KINDS)


@pytest.mark.parametrize("split", SPLITS)
def test_a_text_is_as_often_right_as_not(items_of: ItemsOf, split: str) -> None:
    """Among the texts that are right on some image, over all images they come with."""
    right: Counter[tuple[str, str]] = Counter()
    shown: Counter[tuple[str, str]] = Counter()
    for item in items_of(split):
        for response in item.responses:
            if max(response.scores) >= RIGHT_FROM:
                text = (item.question, response.text)
                shown[text] += 2
                right[text] += sum(score >= RIGHT_FROM for score in response.scores)
    assert right
    assert {text: 2 * count for text, count in right.items()} == dict(shown)


@pytest.mark.parametrize("split", SPLITS)
def test_right_responses_mirror_each_other(items_of: ItemsOf, split: str) -> None:
    for item in items_of(split):
        best = {
            side: Counter(r.families[side] for r in item.responses if r.scores[side] >= RIGHT_FROM)
            for side in (0, 1)
        }
        assert best[0] == best[1]
        assert sum(best[0].values()) >= 2


@pytest.mark.parametrize("split", SPLITS)
def test_scores_keep_to_their_family(items_of: ItemsOf, split: str) -> None:
    for item in items_of(split):
        for response in item.responses:
            for family, score in zip(response.families, response.scores, strict=True):
                assert FAMILIES[family].low <= score <= FAMILIES[family].high
            assert response.family in response.families


@pytest.mark.parametrize("split", SPLITS)
def test_reasons_quote_the_fact(items_of: ItemsOf, split: str) -> None:
    for item in items_of(split):
        for response in item.responses:
            for fact, reason in zip(item.facts, response.reasons, strict=True):
                assert fact.lower() in reason.lower()


@pytest.mark.parametrize("split", SPLITS)
def test_texts_hold_no_control_tokens_and_no_open_slots(items_of: ItemsOf, split: str) -> None:
    for item in items_of(split):
        texts = [item.question, *item.references, *item.facts]
        texts += [text for r in item.responses for text in (r.text, *r.reasons)]
        for text in texts:
            assert not set("<>{}|") & set(text), text
            assert "  " not in text


def test_an_unknown_kind_or_split_is_named(assets: Assets) -> None:
    with pytest.raises(UnknownKindError, match="no question type 'photo'"):
        next(generate(assets, "T0", 0, 1, ["photo"]))
    with pytest.raises(UnknownKindError, match="unknown split 'T9'"):
        next(generate(assets, "T9", 0, 1))


@pytest.mark.parametrize("kind", ["object", "word", "flag", "card"])
def test_a_split_without_its_pack_says_which_pack_to_load(
    packs: tuple[Path, Path], kind: str
) -> None:
    with pytest.raises(AssetError) as caught:
        next(generate(Assets.load(packs[0]), "T1", 0, 1, [kind]))
    assert "assets-test.zip" in caught.value.hint


def test_the_command_writes_a_set_and_a_sheet(packs: tuple[Path, Path], tmp_path: Path) -> None:
    out, sheet = tmp_path / "set", tmp_path / "sheet.png"
    where = ["--assets", *map(str, packs), "--split", "T0", "--n", "5", "--seed", "2"]
    assert main([*where, "--out", str(out), "--sheet", str(sheet)]) == 0
    rows = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    again = list(generate(Assets.load(*packs), "T0", seed=2, n=5))
    assert [row["question"] for row in rows] == [item.question for item in again]
    for row, item in zip(rows, again, strict=True):
        for path, image in zip(row["images"], item.images, strict=True):
            with Image.open(out / path) as stored:
                assert np.array_equal(np.asarray(stored.convert("RGB")), np.asarray(image))
        for pair in row["pairs"]:
            side, texts = pair["side"], row["responses"]
            first, second = texts[pair["first"]], texts[pair["second"]]
            gap = first["scores"][side] - second["scores"][side]
            assert pair["winner"] == ("tie" if gap == 0 else "first" if gap > 0 else "second")
    with Image.open(sheet) as page:
        assert page.width > 800


def test_a_missing_pack_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no asset pack at") as caught:
        main(["--assets", str(tmp_path / "none.zip"), "--out", str(tmp_path / "set")])
    assert "edgecritic train assets build" in caught.value.hint


def test_nothing_to_write_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="what to write"):
        main(["--assets", str(tmp_path / "none.zip")])
