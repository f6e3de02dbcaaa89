"""Checkpoints from a folder, and from a stand-in for the hub."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecritic.errors import ArtifactError
from edgecritic_export.checkpoints import source as source_module
from edgecritic_export.checkpoints.source import Source, resolve
from stand_in_hub import COMMIT, StandInHub

WEIGHTS = bytes(range(256)) * 4096
FILES = {
    "config.json": b"{}",
    "merges.txt": b"a b\n",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": WEIGHTS,
    "README.md": b"# A critic",
    "pytorch_model.bin": b"pickle",
    "modeling.py": b"import os",
    "onnx/config.json": b"{}",
    "ref/adapter_model.safetensors": b"reference",
}
FETCHED = {"config.json", "merges.txt", "chat_template.jinja", "model.safetensors"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    # Read from the environment when huggingface_hub is imported, which another test may have done;
    # `test_the_environment_is_heeded` looks at the real variables.
    from huggingface_hub import constants

    with StandInHub(files=dict(FILES)).serving() as hub:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 64 * 1024)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("time.sleep", lambda _: None)  # between two tries of a download
        monkeypatch.setenv("HF_TOKEN", "")
        yield hub


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert resolve(tmp_path) == Source(tmp_path)
    assert resolve(tmp_path).name == tmp_path.name
    with pytest.raises(ArtifactError, match="has no revision"):
        resolve(tmp_path, "main")


@pytest.mark.parametrize("name", ["nowhere", "./critics/tiny", "a/b/c", "/critics/tiny"])
def test_a_missing_folder_is_no_repository(name: str) -> None:
    with pytest.raises(ArtifactError, match="is no folder"):
        resolve(name)


def test_the_files_of_a_checkpoint_are_fetched_at_one_commit(
    hub: StandInHub, tmp_path: Path
) -> None:
    found = resolve(hub.repo, cache=tmp_path)
    assert (found.repo, found.revision) == (hub.repo, COMMIT)
    assert found.origin == f"{hub.repo}@{COMMIT}"
    assert found.name == hub.repo
    assert names(found.folder) == FETCHED
    assert (found.folder / "model.safetensors").read_bytes() == WEIGHTS
    assert resolve(hub.repo, COMMIT, cache=tmp_path) == found
    assert len(hub.sent) == len(FETCHED)  # once each


def test_a_cut_connection_goes_on_where_it_stopped(hub: StandInHub, tmp_path: Path) -> None:
    hub.cuts = {"model.safetensors": 1}
    found = resolve(hub.repo, cache=tmp_path)
    assert (found.folder / "model.safetensors").read_bytes() == WEIGHTS
    starts = [start for name, start in hub.sent if name == "model.safetensors"]
    assert starts[0] == 0
    assert 0 < starts[1] <= len(WEIGHTS) // 2


def test_a_second_run_fetches_what_the_first_could_not(hub: StandInHub, tmp_path: Path) -> None:
    hub.cuts = {"model.safetensors": 1000}
    with pytest.raises(ArtifactError, match="could not be fetched") as caught:
        resolve(hub.repo, cache=tmp_path)
    assert "run the command again" in caught.value.hint
    hub.cuts, hub.sent = {}, []
    found = resolve(hub.repo, cache=tmp_path)
    assert names(found.folder) == FETCHED
    assert ("model.safetensors", 0) in hub.sent
    assert len(hub.sent) < len(FETCHED)


def test_a_wrong_revision_is_said(hub: StandInHub, tmp_path: Path) -> None:
    for revision in ("v9", "f" * 40):
        with pytest.raises(ArtifactError, match="has no revision"):
            resolve(hub.repo, revision, cache=tmp_path)


def test_an_unknown_repository_is_said(hub: StandInHub, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not on the hub, or it is private") as caught:
        resolve("critics/unknown", cache=tmp_path)
    assert "HF_TOKEN" in caught.value.hint


def test_the_token_of_the_environment_opens_a_private_repository(
    hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_a_token"
    with pytest.raises(ArtifactError, match="private"):
        resolve(hub.repo, cache=tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_a_token")
    assert names(resolve(hub.repo, cache=tmp_path).folder) == FETCHED


def test_a_gated_repository_says_how_to_get_in(hub: StandInHub, tmp_path: Path) -> None:
    hub.gated = True
    with pytest.raises(ArtifactError, match="is gated") as caught:
        resolve(hub.repo, cache=tmp_path)
    assert "accept its terms" in caught.value.hint


def test_offline_takes_what_the_cache_holds(
    hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match="HF_HUB_OFFLINE is set"):
        resolve(hub.repo, cache=tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    online = resolve(hub.repo, cache=tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.sent = []
    assert resolve(hub.repo, cache=tmp_path) == online
    assert hub.sent == []


def test_an_incomplete_cache_is_not_enough(
    hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    found = resolve(hub.repo, cache=tmp_path)
    (found.folder / "model.safetensors").unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match="not wholly"):
        resolve(hub.repo, cache=tmp_path)


def test_a_hub_that_is_down_is_no_loss_where_the_cache_serves(
    hub: StandInHub, tmp_path: Path
) -> None:
    hub.broken = True
    with pytest.raises(ArtifactError, match="cannot be reached"):
        resolve(hub.repo, cache=tmp_path)
    hub.broken = False
    online = resolve(hub.repo, cache=tmp_path)
    hub.broken = True
    assert resolve(hub.repo, cache=tmp_path) == online


def test_a_repository_of_pickles_is_refused(hub: StandInHub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(ArtifactError, match=r"no \.safetensors"):
        resolve(hub.repo, cache=tmp_path)
    assert hub.sent == []


def test_too_small_a_disk_is_said_before_the_download(
    hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(source_module.shutil, "disk_usage", lambda _: small)
    with pytest.raises(ArtifactError, match="GB left") as caught:
        resolve(hub.repo, cache=tmp_path)
    assert "HF_HUB_CACHE" in caught.value.hint
    assert hub.sent == []


def test_the_environment_is_heeded(tmp_path: Path) -> None:
    """HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_OFFLINE, as they stand when the program starts."""
    program = (
        "import sys\n"
        "from edgecritic_export.checkpoints.source import resolve\n"
        "print(resolve('critics/tiny').folder)\n"
    )
    with StandInHub(files=dict(FILES)).serving() as hub:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_CACHE": str(tmp_path),
            "HF_HUB_DISABLE_XET": "1",
        }
        runs = [
            subprocess.run(
                [sys.executable, "-c", program],
                env={**environment, **offline},
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            ).stdout
            for offline in ({"HF_HUB_OFFLINE": "0"}, {"HF_HUB_OFFLINE": "1"})
        ]
    assert runs[0] == runs[1]
    assert Path(runs[0].strip()).is_relative_to(tmp_path)
    assert len(hub.sent) == len(FETCHED)
