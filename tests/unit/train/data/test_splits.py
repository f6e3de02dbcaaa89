from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic_train.data import questions, splits
from edgecritic_train.data.assets import Assets
from edgecritic_train.data.engine import generate
from edgecritic_train.data.responses import HELD_OUT_FORMS, SEEN_FORMS, forms_of
from edgecritic_train.data.scenes.backgrounds import (
    DRAWN_GROUNDS,
    HELD_OUT_GROUNDS,
    PLAIN_GROUNDS,
)
from edgecritic_train.data.scenes.palette import COLOUR_NAMES
from edgecritic_train.data.scenes.shapes import FILLS, HELD_OUT_FILLS, SHAPES
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.wording import Wordings


def _setting(assets: Assets, split: str) -> Setting:
    return Setting(assets, split, np.random.default_rng(0))


def _all_wordings() -> Iterator[tuple[str, Wordings]]:
    for module in pkgutil.iter_modules(questions.__path__):
        found = importlib.import_module(f"{questions.__name__}.{module.name}")
        for name, value in vars(found).items():
            if isinstance(value, Wordings):
                yield f"{module.name}.{name}", value


def test_drawing_styles_are_apart(assets: Assets) -> None:
    parts = [set(splits.styles(assets.styles, split)) for split in ("train", "T1", "T3")]
    assert parts[0] == {"noto", "noto-2", "twemoji"}
    assert parts[1] == {"openmoji", "openmoji-2"}
    assert parts[2] == {"photo"}
    assert set(splits.styles(assets.styles, "T2")) == parts[0]


def test_concepts_words_fonts_flags_and_decks_are_apart(assets: Assets) -> None:
    train, t1, t2 = (_setting(assets, split) for split in ("train", "T1", "T2"))
    assert train.concepts()
    assert not set(train.concepts()) & set(t2.concepts())
    assert all(concept.held_out for concept in t2.concepts())
    assert not set(train.words()) & set(t1.words())
    assert not set(train.fonts()) & set(t1.fonts())
    assert train.countries()
    assert t2.countries()
    assert not set(train.countries()) & set(t2.countries())
    decks = [set(splits.decks(assets.decks, split)) for split in ("train", "T1")]
    assert decks == [{"white", "simple"}, {"ornamental"}]


@given(st.integers(0, 999))
def test_a_number_of_two_digits_is_in_training_or_in_t2(number: int) -> None:
    train, t2 = (splits.number_allowed(number, split) for split in ("train", "T2"))
    assert train != t2 or (number < 10 and train)


def test_shares_of_held_out_numbers_and_combinations() -> None:
    for numbers in (range(10, 100), range(100, 1000)):
        held_out = sum(splits.number_allowed(number, "T2") for number in numbers)
        assert 0.12 <= held_out / len(numbers) <= 0.28
    for shape in range(len(SHAPES)):
        table = [splits.combination_allowed(c, shape, "T2") for c in range(len(COLOUR_NAMES))]
        assert sum(table) == 2
        train = [splits.combination_allowed(c, shape, "train") for c in range(len(COLOUR_NAMES))]
        assert [not held_out for held_out in table] == train


@pytest.mark.parametrize("split", ["train", "T2"])
def test_scenes_keep_to_the_colours_and_numbers_of_their_split(assets: Assets, split: str) -> None:
    for item in generate(assets, split, seed=3, n=60, kinds=["colour", "list", "number", "price"]):
        for labels in item.labels:
            if "number" in labels:
                (units, *_) = map(int, re.findall(r"\d+", labels["number"]))
                assert splits.number_allowed(units, split)
                assert units > 9 or split != "T2"
            for name in labels.get("objects", "").split("|"):
                colour, _, shape = name.partition(" ")
                if colour in COLOUR_NAMES:
                    index = COLOUR_NAMES.index(colour), SHAPES.index(shape)
                    assert splits.combination_allowed(*index, split)


def test_looks_are_apart() -> None:
    assert not set(FILLS) & set(HELD_OUT_FILLS)
    assert not {*PLAIN_GROUNDS, *DRAWN_GROUNDS} & set(HELD_OUT_GROUNDS)


def test_question_wordings_are_apart() -> None:
    wordings = dict(_all_wordings())
    assert len(wordings) > 20
    seen = {text for entry in wordings.values() for text in entry.seen}
    held_out = {text for entry in wordings.values() for text in entry.held_out}
    assert not seen & held_out
    assert all(entry.held_out for entry in wordings.values())


def test_response_families_are_apart() -> None:
    assert not {form.family for form in SEEN_FORMS} & {form.family for form in HELD_OUT_FORMS}
    assert set(HELD_OUT_FORMS) <= set(forms_of("T4"))
    assert all(forms_of(split) == SEEN_FORMS for split in splits.SPLITS if split != "T4")


def test_only_training_redraws_sprites() -> None:
    assert [split for split in splits.SPLITS if splits.augments_style(split)] == ["train"]
