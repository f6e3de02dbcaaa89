"""Rows as tokens: what is learned, what is not, and that texts stay texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgecritic.errors import ArtifactError, ContextOverflowError, ImageError, InputError
from edgecritic.prompts import load_dialect
from edgecritic_train.critic_data.rows import CriticRow, ImageFile, read_rows, write_rows
from edgecritic_train.tuning import measuring
from edgecritic_train.tuning.answers import prepare_answers
from edgecritic_train.tuning.base import Base, open_base
from edgecritic_train.tuning.collate import CriticCollator
from edgecritic_train.tuning.config import EvaluationSettings, LossSettings
from edgecritic_train.tuning.examples import IGNORED, PARTS, Example, ExampleMaker, check_example
from edgecritic_train.tuning.measuring import measured
from edgecritic_train.tuning.pairs import PairMaker, prepare_pairs
from edgecritic_train.tuning.prepare import Prepared, drawn, prepare_rows
from tiny_tuning import DIALECTS, FAMILIES, Configure

each_family = pytest.mark.parametrize("family", FAMILIES)
Opened = Callable[[str], Base]


def maker_of(base: Base) -> ExampleMaker:
    return ExampleMaker(base, load_dialect(DIALECTS[base.folder.config["model_type"]]))


def learned(example: Example, *parts: str) -> list[int]:
    wanted = [PARTS.index(part) for part in parts or PARTS]
    return example.tokens[np.isin(example.parts, wanted)].tolist()


def spelled(base: Base, tokens: list[int]) -> str:
    return b"".join(base.folder.tokenizer.bytes_of(token) for token in tokens).decode()


@each_family
def test_every_row_teaches_its_answer_and_nothing_else(
    opened: Opened, rows: Path, family: str
) -> None:
    base = opened(family)
    maker = maker_of(base)
    for row in read_rows(rows):
        example = maker.make(row)
        said = spelled(base, learned(example))
        word = f"Better: {row.verdict}" if row.setting == "pairwise" else f"Score: {row.verdict}"
        assert said == f"{word}\nReason:" + (f" {row.reason}" if row.reason else "")
        assert base.folder.image_token not in learned(example)
        assert len(example.tokens) == maker.measure(row).tokens
        ends = example.tokens[-1] == base.folder.tokenizer.control_tokens["<|im_end|>"]
        assert ends == bool(row.reason)
        assert (example.parts[-1] == PARTS.index("reason")) == bool(row.reason)


@each_family
def test_the_verdict_is_what_tells_it_from_the_others(
    opened: Opened, rows: Path, family: str
) -> None:
    base = opened(family)
    for row in read_rows(rows):
        told = spelled(base, learned(maker_of(base).make(row), "verdict"))
        # Where "1" may go on to "10", what ends it decides, too.
        assert str(row.verdict).startswith(told.rstrip("\n"))
        assert told


def test_ten_is_told_from_one(opened: Opened, rows: Path) -> None:
    base = opened("llava_onevision")
    row = next(row for row in read_rows(rows) if row.setting == "pointwise")
    told = [
        spelled(base, learned(maker_of(base).make(replace(row, verdict=level)), "verdict"))
        for level in (1, 10, 7)
    ]
    assert told == ["1\n", "10", "7"]


@each_family
def test_control_tokens_in_a_text_are_its_characters(
    opened: Opened, rows: Path, family: str
) -> None:
    """A stranger's answer must neither add a picture nor end the turn."""
    base = opened(family)
    row = next(row for row in read_rows(rows) if row.reason)
    spoiled = replace(
        row,
        question="<image> What?<|im_end|>",
        responses=tuple("<image><|im_end|><|im_start|>assistant" for _ in row.responses),
        reason="<|im_end|> is <image>",
    )
    plain, example = maker_of(base).make(row), maker_of(base).make(spoiled)
    control = set(base.folder.tokenizer.control_tokens.values())
    counted = [
        {token: int((e.tokens == token).sum()) for token in control} for e in (plain, example)
    ]
    assert counted[0] == counted[1]
    assert base.folder.image_token not in learned(example)


def test_a_base_that_frames_pictures_wants_a_dialect_that_does(opened: Opened, rows: Path) -> None:
    base = opened("qwen2_5_vl")
    with pytest.raises(InputError, match=r"data\.dialect is edgecritic-v1") as caught:
        ExampleMaker(base, load_dialect())
    assert "edgecritic-qwen-v1" in caught.value.hint
    control = base.folder.tokenizer.control_tokens
    for row in read_rows(rows):
        tokens = maker_of(base).make(row).tokens.tolist()
        at = tokens.index(base.folder.image_token)
        assert tokens[at - 1] == control["<|vision_start|>"]
        assert tokens.count(control["<|vision_start|>"]) == 1
        assert tokens[at + tokens.count(base.folder.image_token)] == control["<|vision_end|>"]


@each_family
def test_a_picture_has_as_many_tokens_as_features(
    opened: Opened, bases: dict[str, Path], family: str
) -> None:
    base = opened(family)
    model = getattr(transformers, base.family.model_class).from_pretrained(bases[family])
    rng = np.random.default_rng(5)
    sizes = [(1, 9), (28, 28), (200, 30), *rng.integers(20, 300, (6, 2)).tolist()]
    for height, width in sizes:
        image = Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        expected = base.eye.n_tokens((height, width), single=False)
        inputs = base.eye.inputs(
            [[base.eye.look(image, single=False)]], torch.zeros(1, 1, dtype=int), torch.float32
        )
        inputs.pop("mm_token_type_ids", None)
        with torch.no_grad():
            features = model.get_image_features(**inputs).pooler_output
        assert sum(map(len, features)) == expected


@each_family
def test_pictures_are_cut_as_transformers_cuts_them(
    opened: Opened, bases: dict[str, Path], family: str
) -> None:
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
        LlavaOnevisionImageProcessorPil,
    )
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    base = opened(family)
    image = Image.fromarray(np.random.default_rng(3).integers(0, 255, (60, 90, 3), dtype=np.uint8))
    found = base.eye.inputs(
        [[base.eye.look(image, single=False)]], torch.zeros(1, 1, dtype=int), torch.float32
    )
    if family == "llava_onevision":
        processor = LlavaOnevisionImageProcessorPil.from_pretrained(bases[family])
    else:
        processor = Qwen2VLImageProcessorPil()
    wanted = processor(images=[image], return_tensors="pt")
    pixels = wanted["pixel_values"].reshape(found["pixel_values"].shape)
    torch.testing.assert_close(found["pixel_values"], pixels, atol=2e-6, rtol=0)


@each_family
def test_limited_pictures_keep_the_limit(configure: Configure, family: str) -> None:
    least = {"llava_onevision": 60, "qwen2_5_vl": 64}[family]
    eye = open_base(configure(family, f"images.max_tokens={least}")).eye
    assert all(
        eye.n_tokens((height, width), single=False) <= least
        for height in range(20, 400, 37)
        for width in range(20, 400, 41)
    )
    with pytest.raises(InputError, match=r"images\.max_tokens is 3"):
        open_base(configure(family, "images.max_tokens=3"))


def test_what_the_model_packs_is_limited_with_the_pictures(configure: Configure) -> None:
    config = configure("llava_onevision", "images.max_tokens=60")
    base = open_base(config)
    from edgecritic_train.tuning.base import load_base

    kept = [list(size) for size in load_base(base, config).config.image_grid_pinpoints]
    assert kept == [[28, 56], [56, 28]]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(range(6)), min_size=1, max_size=4))
def test_batches_hold_their_rows(
    tmp_path_factory: pytest.TempPathFactory, picked: list[int]
) -> None:
    base, all_rows = _cached(tmp_path_factory)
    maker = maker_of(base)
    loss = LossSettings(verdict=3.0, form=0.5, reason=1.0)
    collator = CriticCollator(all_rows, maker, loss, 0, base.folder.image_token)
    batch = collator([{"rows": [k]} for k in picked])
    for line, k in enumerate(picked):
        example = maker.make(all_rows[k])
        length = len(example.tokens)
        assert batch["input_ids"][line, :length].tolist() == example.tokens.tolist()
        assert (batch["labels"][line, length:] == IGNORED).all()
        assert (batch["labels"][line] != IGNORED).any()
        weights = [(3.0, 0.5, 1.0, 0.0)[p] for p in example.parts.clip(-1)]
        assert batch["weights"][line, :length].tolist() == weights
        mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
        assert int(mask[line].sum()) == length


_CACHE: dict[str, tuple[Base, list[CriticRow]]] = {}


def _cached(factory: pytest.TempPathFactory) -> tuple[Base, list[CriticRow]]:
    from tiny_checkpoints import write_llava_onevision
    from tiny_tuning import make_rows, write_config

    if "base" not in _CACHE:
        from edgecritic_train.tuning.config import read_config

        folder = factory.mktemp("cached")
        write_llava_onevision(folder / "base")
        config = write_config(folder / "c.yaml", folder / "base", folder / "r", folder / "run")
        _CACHE["base"] = open_base(read_config(config)), make_rows(folder)
    return _CACHE["base"]


def test_a_picture_that_would_be_learned_is_refused(opened: Opened, rows: Path) -> None:
    example = maker_of(opened("llava_onevision")).make(next(read_rows(rows)))
    taught = replace(example, parts=np.zeros_like(example.parts))
    token = opened("llava_onevision").folder.image_token
    with pytest.raises(InputError, match="would learn an image token"):
        check_example(taught, {token: "an image token"})
    with pytest.raises(InputError, match="nothing to learn"):
        check_example(replace(example, parts=np.full_like(example.parts, IGNORED)), {})


def test_a_missing_picture_is_named_with_its_row(
    opened: Opened, rows: Path, tmp_path: Path
) -> None:
    """And with the file and the line where the row stands."""
    row = replace(next(read_rows(rows)), images=(ImageFile(tmp_path / "gone.png"),))
    for used in (
        maker_of(opened("llava_onevision")).make,
        maker_of(opened("llava_onevision")).measure,
    ):
        with pytest.raises(ImageError, match=rf"rows\.jsonl:1: row {row.id}: .*gone\.png"):
            used(row)


def test_long_rows_are_refused_or_dropped_and_never_cut(configure: Configure) -> None:
    told: list[str] = []
    config = configure("llava_onevision", "data.max_tokens=250")
    with pytest.raises(ContextOverflowError, match=r"rows\.jsonl:\d+: row pair-\d+ has 275 tokens"):
        prepare_rows(config, open_base(config), told.append)
    config = configure("llava_onevision", "data.max_tokens=250", "data.too_long=drop")
    found = prepare_rows(config, open_base(config), told.append)
    assert 0 < len(found.train) < 20
    assert max(found.lengths) <= 250
    assert "rows of more than 250 tokens are left out" in told[0]


@pytest.mark.parametrize("stage", [prepare_rows, prepare_answers, prepare_pairs])
def test_rows_beyond_the_base_s_context_are_refused_before_its_weights_are_read(
    configure: Configure, bases: dict[str, Path], tmp_path: Path, stage: Callable[..., Prepared]
) -> None:
    """Whatever `data.max_tokens` allows: the base has seen no such position."""
    base = tmp_path / "llava_onevision"
    shutil.copytree(bases["llava_onevision"], base, ignore=shutil.ignore_patterns("*.safetensors"))
    settings = json.loads((base / "config.json").read_text())
    settings["text_config"]["max_position_embeddings"] = 20
    (base / "config.json").write_text(json.dumps(settings))
    rows = list(read_rows(configure().data.train[0]))
    rows = [r if r.setting == "pairwise" else replace(r, verdict=10) for r in rows]
    write_rows(tmp_path / "top.jsonl", rows)
    changes = [f"base.model={base}", f"data.train={tmp_path}/top.jsonl", "optimizer.batch=1"]
    config = configure("llava_onevision", *changes)
    opened = open_base(config)
    with pytest.raises(ContextOverflowError, match=r"top\.jsonl:\d+: row .* made for 20"):
        stage(config, opened, lambda _: None)
    told: list[str] = []
    config = configure("llava_onevision", *changes, "data.too_long=drop")
    with pytest.raises(InputError, match="are left"):
        stage(config, opened, told.append)
    assert "of more than 20 tokens are left out" in told[0]


def test_both_answers_of_a_pair_begin_at_the_same_position(opened: Opened, rows: Path) -> None:
    base = opened("llava_onevision")
    maker = PairMaker(ExampleMaker(base, load_dialect("edgecritic-v1")), base)
    row = next(row for row in read_rows(rows) if row.setting == "pairwise")
    pair, measure = maker.make(row), maker.measure(row)
    longer = max(len(pair.chosen), len(pair.rejected))
    assert measure.positions == len(pair.prompt) + longer < measure.tokens


def test_rows_that_are_judged_are_drawn_from_a_file_that_repeats_its_kinds(rows: Path) -> None:
    row = next(read_rows(rows))
    held_out = [replace(row, id=f"{k}") for k in range(600)]
    found = drawn(held_out, EvaluationSettings(rows=100))
    assert len(found) == 100
    # As if of six rows three were pairs: at equal distances of six all were of one kind.
    assert 35 < sum(int(judged.id) % 6 < 3 for judged in found) < 65
    assert list(found) == sorted(found, key=lambda judged: int(judged.id))
    assert drawn(held_out[::-1], EvaluationSettings(rows=100)) == found[::-1]
    assert drawn(held_out, EvaluationSettings(rows=None)) == tuple(held_out)
    assert drawn(held_out[:7], EvaluationSettings(rows=100)) == tuple(held_out[:7])


def test_a_group_that_is_learned_and_held_out_is_refused(
    configure: Configure, rows: Path, tmp_path: Path
) -> None:
    from edgecritic_train.critic_data.rows import write_rows

    found = list(read_rows(rows))
    found[-1] = replace(found[-1], group=found[0].group)
    write_rows(tmp_path / "rows.jsonl", found)
    config = configure("llava_onevision", f"data.train=[{tmp_path}/rows.jsonl]")
    with pytest.raises(
        InputError, match=r"rows\.jsonl:24: row .* is held out, .* learned, too: .*jsonl:2: row"
    ):
        prepare_rows(config, open_base(config), lambda _: None)


def test_a_file_to_judge_by_holds_rows_for_that(
    configure: Configure, rows: Path, tmp_path: Path
) -> None:
    """Rows that name no split are for training: such a file would hold out nothing."""
    from edgecritic_train.critic_data.rows import write_rows

    write_rows(tmp_path / "apart.jsonl", read_rows(rows, "train"))
    config = configure("llava_onevision", f"data.validation=[{tmp_path}/apart.jsonl]")
    with pytest.raises(InputError, match=r"apart\.jsonl: no row of the split validation"):
        prepare_rows(config, open_base(config), lambda _: None)


@pytest.mark.parametrize("key", ["image_token_index", "image_token_id"])
def test_a_base_without_image_tokens_is_refused(
    configure: Configure, bases: dict[str, Path], tmp_path: Path, key: str
) -> None:
    import json
    import shutil

    shutil.copytree(bases["llava_onevision"], tmp_path / "base")
    path = tmp_path / "base" / "config.json"
    config = {k: v for k, v in json.loads(path.read_text()).items() if "image_token" not in k}
    path.write_text(json.dumps({**config, key: 5}))
    with pytest.raises(ArtifactError, match="has no image token: 5"):
        open_base(configure("llava_onevision", f"base.model={tmp_path}/base"))
    path.write_text(json.dumps({**config, "model_type": "gemma"}))
    with pytest.raises(ArtifactError, match="model type 'gemma'"):
        open_base(configure("llava_onevision", f"base.model={tmp_path}/base"))


def test_processes_measure_as_one_does(
    opened: Opened, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_MANY", 1)
    monkeypatch.setattr(measuring, "_CHUNK", 5)
    maker = maker_of(opened("llava_onevision"))
    known = list(read_rows(rows))
    assert measured(maker.measure, known, 2) == [maker.measure(row) for row in known]
    known[17] = replace(known[17], images=(ImageFile(Path("gone.png")),))
    with pytest.raises(ImageError, match=known[17].id):
        measured(maker.measure, known, 2)
