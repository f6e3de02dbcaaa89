"""Whole bundles from the hub, kept in the cache folder: ``owner/name[@revision]``."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecritic.bundle import MANIFEST, Bundle
from edgecritic.cache_folder import cache_home
from edgecritic.downloads import SourceError, fetch, fetch_unknown
from edgecritic.errors import ArtifactError, CriticError
from edgecritic.fit.refusal import refuse_to_store
from edgecritic.hashing import verify
from edgecritic.locking import exclusive
from edgecritic.manifest import BundleFile, HubSource
from edgecritic.models import pull
from edgecritic.progress import Tell

_PART: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME: Final = re.compile(rf"({_PART})/({_PART})(?:@({_PART}))?")
_OFFLINE: Final = "HF_HUB_OFFLINE"
_LARGEST_MANIFEST: Final = 1 << 20
_EMBEDDED: Final = "embedded"


@dataclass(frozen=True, slots=True)
class HubName:
    """A bundle on the hub.

    Attributes:
        repo: ``owner/name``.
        revision: branch, tag or commit.
    """

    repo: str
    revision: str = "main"

    @classmethod
    def of(cls, text: str) -> HubName | None:
        """The name that a text states; None where it is no such name."""
        match = _NAME.fullmatch(text)
        return None if match is None else cls(f"{match[1]}/{match[2]}", match[3] or "main")

    @property
    def folder(self) -> Path:
        """Where it is kept, whether it is there or not."""
        return bundles_home() / f"{self.repo.replace('/', '--')}@{self.revision}"

    def __str__(self) -> str:
        return self.repo if self.revision == "main" else f"{self.repo}@{self.revision}"


def bundles_home() -> Path:
    """Where bundles from the hub are kept."""
    return cache_home() / "bundles"


def find_bundle(name: str | os.PathLike[str]) -> Bundle:
    """A bundle by its folder, or by its name if it was pulled from the hub.

    ``embedded`` is the one that ships, as on the command line.

    Raises:
        ArtifactError: there is none; for a name the hint says how to fetch it.
    """
    if os.fspath(name) == _EMBEDDED:
        return Bundle.embedded()
    hub_name = HubName.of(os.fspath(name))
    if hub_name is None or Path(name).exists():
        return Bundle.read(name)
    if not (hub_name.folder / MANIFEST).is_file():
        raise ArtifactError(
            f"{name} is neither a folder here nor a bundle that was fetched",
            f"fetch it with: edgecritic models pull {hub_name}",
        )
    return Bundle.read(hub_name.folder)


def pull_bundle(name: HubName, *, progress: Tell | None = None, force: bool = False) -> Bundle:
    """Fetch a bundle and the files that it keeps elsewhere.

    What is there and whole is not fetched again, and an interrupted file is gone on with. Each
    file is checked against the manifest before it gets its name; the manifest comes last.

    Args:
        name: on the hub.
        progress: is told what goes on.
        force: fetch even what this machine cannot store or load.

    Raises:
        DoesNotFitError: it is too large for the disk or for this machine's memory.
        ArtifactError: it cannot be fetched, or HF_HUB_OFFLINE forbids it and it is not here.
    """
    tell = progress or (lambda line: None)
    if os.environ.get(_OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE"):
        return _offline(name, progress)
    folder = name.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        waiting = f"another pull fetches {name}: waiting for it"
        with exclusive(bundles_home() / f".lock-{folder.name}", lambda: tell(waiting)):
            try:
                bundle = _fetched(name, folder, tell, force)
            except CriticError:
                _remove_if_nothing_was_fetched(folder)
                raise
    except OSError as error:
        raise ArtifactError(
            f"{name} cannot be stored: {error}",
            "free some space, or name another cache folder in EDGECRITIC_HOME",
        ) from error
    pull(bundle, progress=progress)
    return bundle


def _offline(name: HubName, progress: Tell | None) -> Bundle:
    if not (name.folder / MANIFEST).is_file():
        raise ArtifactError(
            f"{name} is not in the cache folder, and {_OFFLINE} is set",
            f"unset {_OFFLINE}, or copy the bundle's folder here and name it",
        )
    bundle = Bundle.read(name.folder)
    for file in bundle.manifest.files:
        if not file.external:
            bundle.verified(file)
    pull(bundle, progress=progress)
    return bundle


def _fetched(name: HubName, folder: Path, tell: Tell, force: bool) -> Bundle:
    downloads = folder / ".download"
    downloads.mkdir(exist_ok=True)
    tell(f"asking the hub for {name}")
    try:
        commit = fetch_unknown(
            name.repo, name.revision, MANIFEST, downloads / MANIFEST, _LARGEST_MANIFEST
        )
    except SourceError as error:
        raise ArtifactError(
            f"{name} cannot be fetched: {error}",
            "check the name and the network; private ones need a token (hf auth login)",
        ) from error
    bundle = Bundle.read(downloads)
    wanted = [file for file in bundle.manifest.files if not file.external]
    missing = [file for file in wanted if not _is_whole(folder / file.path, file)]
    if not force:
        refuse_to_store(bundle.manifest, sum(file.size for file in missing), folder)
    for file in missing:
        _fetch_file(HubSource(name.repo, commit, file.path), file, folder, tell)
    (downloads / MANIFEST).replace(folder / MANIFEST)
    shutil.rmtree(downloads, ignore_errors=True)
    return Bundle.read(folder)


def _remove_if_nothing_was_fetched(folder: Path) -> None:
    """A name that is none, or a bundle that was refused, is not to be listed as incomplete."""
    told = folder / ".download" / MANIFEST
    if all(path.is_dir() or path == told for path in folder.rglob("*")):
        shutil.rmtree(folder)


def _fetch_file(source: HubSource, file: BundleFile, folder: Path, tell: Tell) -> None:
    tell(f"fetching {file.path} ({file.size / 1e6:.0f} MB)")
    part = part_folder(folder, file)
    part.mkdir(parents=True, exist_ok=True)
    try:
        whole = fetch(source, file, part, tell)
    except SourceError as error:
        raise ArtifactError(
            f"{file.path} of {source.repo} could not be fetched: {error}",
            "try again: what was fetched is gone on with",
        ) from error
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    whole.replace(target)
    shutil.rmtree(part, ignore_errors=True)


def part_folder(folder: Path, file: BundleFile) -> Path:
    """Where a file of a bundle lies until it is whole."""
    return folder / ".download" / file.sha256[:16]


def _is_whole(path: Path, file: BundleFile) -> bool:
    try:
        verify(path, file.size, file.sha256, "")
    except ArtifactError:
        return False
    return True
