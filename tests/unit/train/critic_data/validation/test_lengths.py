"""Token lengths with pictures are those that training lays out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from edgecritic.errors import ArtifactError
from edgecritic.prompts import load_dialect
from edgecritic_train.cli import main
from edgecritic_train.critic_data.rendering import render_row
from edgecritic_train.critic_data.rows import ImageFile, write_rows
from edgecritic_train.critic_data.validation.lengths import BaseTokens
from edgecritic_train.tuning.base import Base
from edgecritic_train.tuning.examples import ExampleMaker
from edgecritic_train.tuning.families import open_folder
from tiny_checkpoints import write_llava_onevision, write_qwen2_5_vl
from tiny_tuning import DIALECTS, FAMILIES


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    write_llava_onevision(folder / "llava_onevision")
    write_qwen2_5_vl(folder / "qwen2_5_vl")
    return folder


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cap", [None, 64])
def test_lengths_are_those_of_training(bases, tmp_path, pair, family, cap):
    base_family, folder = open_folder(bases / family)
    dialect = load_dialect(DIALECTS[family])
    maker = ExampleMaker(Base(base_family, folder, base_family.eye(folder, cap)), dialect)
    counter = BaseTokens.read(bases / family, cap)
    sizes = [(24, 32), (90, 41), (60, 300)]
    paths = [tmp_path / f"{height}.png" for height, _ in sizes]
    for (height, width), path in zip(sizes, paths, strict=True):
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)
    for n in range(len(sizes) + 1):
        row = replace(
            pair, images=tuple(map(ImageFile, paths[:n])), question="Is <image> <|im_end|> here?"
        )
        for one in (row, replace(row, reason="")):
            counted = counter.text(render_row(one, dialect)) + counter.pictures(sizes[:n])
            assert counted == maker.measure(one).tokens
    assert counter.folder.context == 2048


def test_a_row_that_is_too_long_is_an_error(bases, pair, tmp_path, capsys):
    write_rows(tmp_path / "rows.jsonl", [pair])
    base = str(bases / "llava_onevision")
    asked = ["data", "validate", str(tmp_path / "rows.jsonl"), "--base", base]
    assert main([*asked, "--max-length", "2000"]) == 0
    assert "tokens with pictures: median" in capsys.readouterr().out
    assert main([*asked, "--max-length", "200"]) == 1
    said = capsys.readouterr().out
    assert "## error: too-long (1)" in said
    assert "of them of pictures; 200 fit" in said


def test_a_folder_that_is_no_base_is_named(tmp_path, pair):
    write_rows(tmp_path / "rows.jsonl", [pair])
    asked = ["data", "validate", str(tmp_path / "rows.jsonl"), "--base", str(tmp_path)]
    with pytest.raises(ArtifactError, match=r"config\.json"):
        main(asked)


def test_a_base_may_be_named_as_on_the_hub(bases, pair, tmp_path, capsys, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    asked_for = []

    def snapshot(name, *, revision, allow_patterns):
        asked_for.append((name, "*.safetensors" in allow_patterns))
        return str(bases / "llava_onevision")

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    write_rows(tmp_path / "rows.jsonl", [pair])
    asked = ["data", "validate", str(tmp_path / "rows.jsonl"), "--max-length", "2000", "--base"]
    assert main([*asked, "owner/base"]) == 0
    assert asked_for == [("owner/base", False)]
    assert "tokens with pictures: median" in capsys.readouterr().out
    with pytest.raises(ArtifactError, match="llava-7b is no folder") as caught:
        main([*asked, "llava-7b"])
    assert "owner/name on the hub" in caught.value.hint
