"""Finding one emoji in several collections."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecritic_train.data.emoji import Collection, Labels, find_drawings


def collection(
    icons: dict[str, str],
    codes: dict[str, str] | None = None,
    aliases: dict[str, dict[str, object]] | None = None,
) -> Collection:
    return Collection(
        {
            "icons": {name: {"body": body} for name, body in icons.items()},
            "aliases": aliases or {},
            "width": 36,
            "height": 36,
        },
        codes or {},
    )


LABELS = Labels({"black cat": "1f408-200d-2b1b", "lion": "1f981", "cricket": "1f997"})


def test_code_points_then_names_of_the_other_styles() -> None:
    collections = {
        "coded": collection({"cat-black": "A"}, {"1f408-200d-2b1b": "cat-black"}),
        "by-borrowed-name": collection({"cat-black": "B"}),
        "by-label": collection({"black-cat": "C"}),
        "without": collection({"dog": "D"}),
    }
    found = find_drawings(["black cat"], LABELS, collections)
    assert {style: drawings[0].count("<svg") for style, drawings in found.items()} == {
        "coded": 1,
        "by-borrowed-name": 1,
        "by-label": 1,
    }
    assert ">A</svg>" in found["coded"][0]
    assert 'viewBox="0 0 36 36"' in found["coded"][0]


def test_every_label_is_a_view() -> None:
    styles = {"s": collection({"lion": "1", "black-cat": "2"})}
    views = find_drawings(["lion", "black cat"], LABELS, styles)["s"]
    assert [view[-8:] for view in views] == [">1</svg>", ">2</svg>"]


def test_aliases_are_followed_unless_they_mirror() -> None:
    aliases: dict[str, dict[str, object]] = {
        "lion": {"parent": "lion-face"},
        "black-cat": {"parent": "lion-face", "hFlip": True},
    }
    styles = {"s": collection({"lion-face": "L"}, aliases=aliases)}
    assert find_drawings(["lion"], LABELS, styles)["s"][0].endswith(">L</svg>")
    assert find_drawings(["black cat"], LABELS, styles) == {}


def test_a_known_namesake_is_left_out() -> None:
    styles = {"emojione": collection({"cricket": "a bat"}), "noto": collection({"cricket": "c"})}
    assert set(find_drawings(["cricket"], LABELS, styles)) == {"noto"}


def test_an_unknown_icon_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        collection({}).svg("cat")


def test_packages_are_read(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "en").mkdir(parents=True)
    entry = {"label": "Heart", "hexcode": "2764-FE0F"}
    (package / "en/data.json").write_text(json.dumps([entry]))
    (package / "icons.json").write_text(json.dumps({"icons": {"red-heart": {"body": "<g/>"}}}))
    (package / "chars.json").write_text(json.dumps({"2764-fe0f": "red-heart"}))
    table, drawings = Labels.read(tmp_path), Collection.read(tmp_path)
    assert set(find_drawings(["heart"], table, {"s": drawings})) == {"s"}
    (package / "chars.json").write_text("[]")
    assert Collection.read(tmp_path).by_code == {}
