"""Whole bundles from a hub on this machine: resumed, checked, found by name, removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgecritic.bundle import Bundle, describe_file, write_bundle
from edgecritic.cache_folder import cache_home, cache_path, part_of_file
from edgecritic.cli import main
from edgecritic.critic import Critic
from edgecritic.errors import ArtifactError, DoesNotFitError, InputError
from edgecritic.fit import refusal
from edgecritic.fit.machine import Machine
from edgecritic.hub import HubName, find_bundle, part_folder, pull_bundle
from edgecritic.kept import kept, remove
from edgecritic.manifest import BundleFile, Derivation, HubSource
from stand_in_hub import COMMIT, StandInHub
from tiny_engines import tiny_manifest

NAME = HubName("critics/tiny")
ADAPTER = b"GGUF" + bytes(range(256)) * 6000
SHARED = b"a language model that several bundles name" * 1000


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """A hub with a bundle: an adapter of its own, and a model that is kept outside of it."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "adapter.gguf").write_bytes(ADAPTER)
    (made / "model.gguf").write_bytes(SHARED)
    model = replace(
        describe_file("language_model", made / "model.gguf", quant="Q4_K_M"),
        external=True,
        sources=(HubSource("critics/tiny", COMMIT, "elsewhere/model.gguf"),),
    )
    adapter = describe_file("adapter", made / "adapter.gguf", "parts/adapter.gguf")
    manifest = replace(tiny_manifest((model, adapter)), image=None)
    sources = {"parts/adapter.gguf": made / "adapter.gguf"}
    bundle = write_bundle(tmp_path / "bundle", manifest, sources)
    served = StandInHub(
        files={
            "critic.json": (bundle.folder / "critic.json").read_bytes(),
            "parts/adapter.gguf": ADAPTER,
            "elsewhere/model.gguf": SHARED,
        }
    )
    monkeypatch.setenv("EDGECRITIC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with served.serving():
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def test_a_pulled_bundle_is_found_by_its_name(hub: StandInHub) -> None:
    with pytest.raises(ArtifactError) as missing:
        find_bundle("critics/tiny")
    assert missing.value.hint == "fetch it with: edgecritic models pull critics/tiny"
    told: list[str] = []
    bundle = pull_bundle(NAME, progress=told.append)
    assert find_bundle("critics/tiny") == bundle
    for file in bundle.manifest.files:
        assert bundle.verified(file).is_file()
    assert any("parts/adapter.gguf" in line for line in told)
    before = len(hub.sent)
    assert pull_bundle(HubName("critics/tiny")) == bundle
    assert [name for name, _ in hub.sent[before:]] == ["critic.json"]
    (bundle.folder / "parts/adapter.gguf").write_bytes(b"damaged")
    assert pull_bundle(NAME).file("adapter").read_bytes() == ADAPTER
    (entry, shared) = kept()
    assert (entry.name, entry.kind, entry.complete) == ("critics/tiny", "bundle", True)
    assert (shared.name, shared.kind, shared.size) == ("model.gguf", "file", len(SHARED))


def test_the_critic_that_ships_is_found_by_its_name() -> None:
    for name in ("embedded", Path("embedded")):  # commands take names for paths, too
        assert find_bundle(name).folder == Bundle.embedded().folder


def test_an_interrupted_pull_goes_on(hub: StandInHub) -> None:
    manifest = json.loads(hub.files["critic.json"])
    adapter = next(file for file in manifest["files"] if file["role"] == "adapter")
    part = part_folder(NAME.folder, BundleFile("adapter", "", adapter["sha256"], adapter["size"]))
    part.mkdir(parents=True)
    (part / "download").write_bytes(ADAPTER[:1000])
    assert [entry.complete for entry in kept()] == [False]
    assert pull_bundle(NAME).file("adapter").read_bytes() == ADAPTER
    assert ("parts/adapter.gguf", 1000) in hub.sent


def test_what_is_not_what_the_manifest_says_is_refused(hub: StandInHub) -> None:
    hub.files["parts/adapter.gguf"] = ADAPTER[:-1] + b"?"
    with pytest.raises(ArtifactError, match="not the pinned one"):
        pull_bundle(NAME)
    with pytest.raises(ArtifactError):
        find_bundle("critics/tiny")


def test_offline_nothing_is_asked_for(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ArtifactError, match="HF_HUB_OFFLINE is set"):
        pull_bundle(NAME)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    bundle = pull_bundle(NAME)
    before = len(hub.sent)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pull_bundle(NAME) == bundle
    assert len(hub.sent) == before


@pytest.mark.parametrize(
    ("name", "told"), [("critics/other", "repository, or it is"), ("critics/tiny@x", "revision")]
)
def test_what_the_hub_does_not_have_is_told(hub: StandInHub, name: str, told: str) -> None:
    wanted = HubName.of(name)
    assert wanted is not None
    with pytest.raises(ArtifactError, match=f"cannot be fetched: the.* no such {told}"):
        pull_bundle(wanted)
    assert not hub.sent
    assert not list(kept())


def test_a_manifest_without_end_is_not_fetched(hub: StandInHub) -> None:
    hub.files["critic.json"] = b" " * (2 << 20)
    with pytest.raises(ArtifactError, match="larger than"):
        pull_bundle(NAME)


def test_what_cannot_fit_is_refused_before_it_is_fetched(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Machine(ram=1000, ram_total=100_000, vram=None)
    monkeypatch.setattr(refusal.Machine, "here", lambda **_: small)
    with pytest.raises(DoesNotFitError, match="of memory"):
        pull_bundle(NAME)
    assert {name for name, _ in hub.sent} == {"critic.json"}
    assert pull_bundle(NAME, force=True).file("adapter").read_bytes() == ADAPTER
    monkeypatch.setattr(refusal, "free_disk", lambda folder: 10)
    (find_bundle("critics/tiny").folder / "parts/adapter.gguf").unlink()
    with pytest.raises(DoesNotFitError, match="on disk"):
        pull_bundle(NAME)


def test_what_was_never_fetched_is_not_listed(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal, "free_disk", lambda folder: 10)
    with pytest.raises(DoesNotFitError):
        pull_bundle(NAME)
    assert not list(kept())


def test_what_was_fetched_stays_when_the_next_pull_fails_earlier(hub: StandInHub) -> None:
    hub.cuts = {"parts/adapter.gguf": 9}
    with pytest.raises(ArtifactError, match="gone on with"):
        pull_bundle(NAME)
    hub.gated = True
    with pytest.raises(ArtifactError, match="grant access"):
        pull_bundle(NAME)
    assert [(entry.name, entry.complete) for entry in kept()] == [("critics/tiny", False)]


def test_a_shared_file_that_was_fetched_in_part_is_listed_and_removed(hub: StandInHub) -> None:
    hub.cuts = {"elsewhere/model.gguf": 9}
    with pytest.raises(ArtifactError, match="could not be fetched"):
        pull_bundle(NAME)
    (model,) = Bundle.read(NAME.folder).manifest.having("language_model")
    part = part_of_file(model.sha256)
    assert list(part.rglob("download"))
    part.joinpath("more").write_bytes(bytes(100))  # a chunk is not whole before it is written
    told = [(entry.name, entry.kind, entry.complete) for entry in kept()]
    assert told == [("critics/tiny", "bundle", True), ("model.gguf", "file", False)]
    assert part in remove("critics/tiny")
    assert not list(kept())


def test_what_cannot_be_removed_is_an_error(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull_bundle(NAME)

    def read_only(path: Path) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr("edgecritic.kept.shutil.rmtree", read_only)
    with pytest.raises(ArtifactError, match=r"critics/tiny cannot be removed: .*Read-only"):
        remove("critics/tiny")


def test_removing_leaves_what_others_need(hub: StandInHub) -> None:
    first, pinned = pull_bundle(NAME), pull_bundle(HubName("critics/tiny", COMMIT))
    shared = cache_path(first.manifest.having("language_model")[0])
    assert remove("critics/tiny") == [first.folder]
    assert shared.exists()
    assert remove(f"critics/tiny@{COMMIT}") == [pinned.folder, shared.parent]
    assert not list(kept())
    with pytest.raises(ArtifactError, match="nothing of critics/tiny"):
        remove("critics/tiny")
    with pytest.raises(InputError, match="no bundle in the cache"):
        remove("../somewhere")


def write_form(bundle: Bundle, folder: Path) -> Path:
    """Something that says that it was made of a bundle."""
    files = tuple(file.sha256 for file in bundle.manifest.files)
    manifest = replace(bundle.manifest, derived_from=Derivation("recipe-1", files))
    sources = {"parts/adapter.gguf": bundle.file("adapter")}
    write_bundle(folder / "recipe-1", manifest, sources)
    return folder


def test_forms_are_told_and_go_with_their_bundle(
    hub: StandInHub, capsys: pytest.CaptureFixture[str]
) -> None:
    first, pinned = pull_bundle(NAME), pull_bundle(HubName("critics/tiny", COMMIT))
    form = write_form(first, cache_home() / "derived" / "abcd")
    torn = cache_home() / "derived" / "ef01"
    (torn / "recipe-1").mkdir(parents=True)
    told = {entry.name: entry for entry in kept() if entry.kind == "form"}
    assert told["form:abcd"].of == "tiny-1"
    assert told["form:abcd"].size > len(ADAPTER)
    assert not told["form:ef01"].complete
    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out
    assert "form:abcd  (tiny-1 for ONNX Runtime)" in listed
    assert "form:ef01  (incomplete)" in listed
    assert remove("form:ef01") == [torn]
    assert remove("critics/tiny") == [first.folder]  # the other bundle is of the same files
    assert form in remove(f"critics/tiny@{COMMIT}")
    assert not pinned.folder.exists()
    assert not list(kept())
    with pytest.raises(ArtifactError, match="nothing of form:abcd"):
        remove("form:abcd")


def test_the_command_line_pulls_lists_and_removes(
    hub: StandInHub, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*argv: str) -> tuple[int, str]:
        status = main(["models", *argv])
        return status, capsys.readouterr().out

    status, out = run("pull", "critics/tiny")
    assert (status, len(out.splitlines())) == (0, 2)
    _, listed = run("list", "--json")
    names = [json.loads(line)["name"] for line in listed.splitlines()]
    assert names == ["critics/tiny", "model.gguf"]
    assert run("verify", "critics/tiny")[0] == 0
    assert "tiny 1" in run("inspect", "critics/tiny")[1]
    assert run("rm", "critics/tiny")[0] == 0
    assert run("list") == (0, "")
    assert run("rm", "critics/tiny") == (1, "")
    with pytest.raises(ArtifactError, match="neither a folder here"):
        Critic.load("critics/tiny")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a/b", HubName("a/b")),
        ("a/b@v1.0", HubName("a/b", "v1.0")),
        ("a", None),
        ("a/b/c", None),
        ("../b", None),
        ("a/b@", None),
        ("a/b@../c", None),
        ("/a/b", None),
    ],
)
def test_names_of_the_hub(text: str, name: HubName | None) -> None:
    assert HubName.of(text) == name
    if name is not None:
        assert str(name) == text
