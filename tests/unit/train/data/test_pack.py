"""The pack's zip format and its manifest."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic_train.data.pack import (
    AssetError,
    Concept,
    PackManifest,
    PackReader,
    Photo,
    slug,
    write_pack,
)

NAMES = st.text("abc xyz'-é", min_size=1, max_size=12)
NAME_TUPLES = st.lists(NAMES, max_size=3).map(tuple)
MANIFESTS = st.builds(
    PackManifest,
    name=NAMES,
    concepts=st.lists(
        st.builds(Concept, NAMES, NAMES, st.sampled_from(["a", "an", ""]), NAMES, st.booleans()),
        max_size=3,
    ).map(tuple),
    sprites=st.dictionaries(NAMES, NAME_TUPLES, max_size=2),
    fonts=st.dictionaries(NAMES, NAMES, max_size=2),
    words=st.dictionaries(NAMES, NAME_TUPLES, max_size=2),
    garments=NAME_TUPLES,
    flags=st.dictionaries(NAMES, NAME_TUPLES, max_size=2),
    cards=st.dictionaries(NAMES, NAME_TUPLES, max_size=2),
    photos=st.lists(st.builds(Photo, NAMES, NAMES), max_size=2).map(tuple),
)


@given(MANIFESTS)
def test_a_manifest_survives_its_json(manifest: PackManifest) -> None:
    assert PackManifest.from_json(manifest.to_json(), "here") == manifest


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("not json", "unreadable"),
        ("[]", "unreadable"),
        ('{"format": 1, "name": "train"}', "unreadable"),
        ('{"format": 99}', "has format 99"),
    ],
)
def test_a_broken_manifest_names_the_pack(text: str, complaint: str) -> None:
    with pytest.raises(AssetError, match=complaint) as failure:
        PackManifest.from_json(text, "some/pack.zip")
    assert "some/pack.zip" in failure.value.message
    assert "build" in failure.value.hint


def test_members_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "pack.zip"
    write_pack(path, PackManifest("train"), [("fonts/a.ttf", b"font" * 100), ("b.webp", b"w" * 99)])
    reader = PackReader(path)
    assert reader.read("fonts/a.ttf") == b"font" * 100
    assert "b.webp" in reader
    assert "c.webp" not in reader
    with pytest.raises(AssetError, match=r"no member c\.webp"):
        reader.read("c.webp")
    with zipfile.ZipFile(path) as pack:
        assert pack.getinfo("b.webp").compress_type == zipfile.ZIP_STORED
        assert pack.getinfo("fonts/a.ttf").compress_type == zipfile.ZIP_DEFLATED


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        write_pack(tmp_path / name, PackManifest("train"), [("a.webp", b"picture")])
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_failed_write_leaves_the_old_pack(tmp_path: Path) -> None:
    path = tmp_path / "pack.zip"
    write_pack(path, PackManifest("old"), [])
    with pytest.raises(TypeError):
        write_pack(path, PackManifest("new"), [("a.webp", None)])
    assert PackReader(path).manifest.name == "old"


def test_missing_and_damaged_packs_say_so(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no asset pack at"):
        PackReader(tmp_path / "absent.zip")
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(b"PK, but not really")
    with pytest.raises(AssetError, match="not a zip file"):
        PackReader(damaged)


@pytest.mark.parametrize(
    ("name", "expected"), [("hot dog", "hot-dog"), ("jack-o'-lantern", "jack-o--lantern")]
)
def test_slug(name: str, expected: str) -> None:
    assert slug(name) == expected
