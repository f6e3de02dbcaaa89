"""Loading packs: what is found, what is missing, and workers."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from edgecritic_train.data.assets import AssetError, Assets, main
from edgecritic_train.data.pack import Concept, PackManifest, write_pack


def test_both_packs_are_merged(assets: Assets) -> None:
    assert list(assets.concepts) == sorted(assets.concepts)
    assert assets.styles == ("noto", "noto-2", "openmoji", "openmoji-2", "photo", "twemoji")
    assert assets.sprite_styles("whale") == ("noto", "openmoji", "photo", "twemoji")
    assert assets.sprite_styles("no such thing") == ()
    assert assets.fonts("train") == ("train-font",)
    assert assets.fonts("heldout") == ("test-font",)
    assert not set(assets.words("train")) & set(assets.words("heldout"))
    assert set(assets.decks) == {"white", "simple", "ornamental"}


def test_the_training_pack_alone_lacks_held_out_parts(packs: tuple[Path, Path]) -> None:
    train = Assets.load(packs[0])
    assert "openmoji" not in train.styles
    assert train.fonts("heldout") == ()
    assert list(train.photos()) == []
    with pytest.raises(AssetError, match=r"assets-test\.zip"):
        train.words("heldout")
    with pytest.raises(AssetError, match="digits-sklearn"):
        train.digits("sklearn")
    with pytest.raises(AssetError, match="deck 'ornamental'"):
        train.cards("ornamental")
    with pytest.raises(AssetError, match="flags in style 'openmoji'"):
        train.flags("openmoji")


def test_sprites_are_fresh_copies(assets: Assets) -> None:
    first = assets.sprite("dog", "noto")
    untouched = first.copy()
    first.paste((1, 2, 3, 4), (0, 0, *first.size))
    second = assets.sprite("dog", "noto")
    assert second.mode == "RGBA"
    assert np.array_equal(np.asarray(second), np.asarray(untouched))


def test_a_missing_sprite_names_the_styles_there_are(assets: Assets) -> None:
    with pytest.raises(AssetError, match=r"'whale' in style 'noto-2'.*'noto', 'openmoji'"):
        assets.sprite("whale", "noto-2")
    with pytest.raises(AssetError, match="unicorn"):
        assets.sprite("unicorn", "noto")


def test_galleries_decode_on_look_up(assets: Assets) -> None:
    cards = assets.cards("white")
    assert "queen of hearts" in cards
    assert cards["queen of hearts"].mode == "RGBA"
    assert len(cards) == len(list(cards)) == 16
    with pytest.raises(KeyError):
        cards["joker"]


def test_arrays(assets: Assets) -> None:
    images, labels = assets.digits("train")
    assert images.shape == (30, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    garments, kinds, names = assets.garments("test")
    assert garments.shape == (30, 28, 28)
    assert kinds.max() < len(names)


def test_fonts_are_cached_by_size(assets: Assets) -> None:
    assert assets.font("train-font", 20) is assets.font("train-font", 20)
    assert assets.font("train-font", 20).size == 20
    assert assets.font("train-font", 30).size == 30
    # The other layout is only where libfribidi is, and draws other pictures.
    assert assets.font("train-font", 20).layout_engine == ImageFont.Layout.BASIC
    with pytest.raises(AssetError, match="font 'comic'"):
        assets.font("comic", 12)


def test_pickling_keeps_paths_only(assets: Assets) -> None:
    pickled = pickle.dumps(assets)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert copy.concepts == assets.concepts
    assert copy.sprite("cat", "twemoji").size == assets.sprite("cat", "twemoji").size


def _size_of(assets: Assets, name: str) -> tuple[int, int]:
    return assets.sprite(name, "noto").size


def test_threads_and_spawned_workers_read_side_by_side(assets: Assets) -> None:
    names = list(assets.concepts) * 3
    expected = [_size_of(assets, name) for name in names]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda name: _size_of(assets, name), names)) == expected
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.starmap(_size_of, [(assets, name) for name in names[:4]]) == expected[:4]


def test_packs_that_disagree_are_refused(tmp_path: Path) -> None:
    for name, held_out in (("one", True), ("two", False)):
        concept = Concept("cat", "cats", "a", "animal", held_out)
        write_pack(tmp_path / f"{name}.zip", PackManifest(name, concepts=(concept,)), [])
    with pytest.raises(AssetError, match="describes 'cat' in another way"):
        Assets.load(tmp_path / "one.zip", tmp_path / "two.zip")


def test_loading_nothing_is_an_error() -> None:
    with pytest.raises(AssetError, match="no asset pack was named"):
        Assets.load()


def test_the_loader_imports_no_heavy_modules() -> None:
    code = (
        "import sys, edgecritic_train.data.assets; "
        "sys.exit(bool({'torch', 'resvg_py', 'llama_cpp'} & set(sys.modules)))"
    )
    path = ":".join(entry for entry in sys.path if entry)
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, check=False)
    assert done.returncode == 0


def test_a_build_without_npm_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    arguments = ["build", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    with pytest.raises(AssetError, match="npm is not installed"):
        main(arguments)
    assert not (tmp_path / "out").exists()
