"""Where a checkpoint comes from: a folder, or a repository on the hub, pinned to one commit.

``HF_TOKEN``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE`` and ``HF_HUB_CACHE`` have the meaning that
huggingface-hub gives them. Files that were fetched are kept in its cache; a file whose download was
cut short goes on where it stopped while the program runs, and begins again in the next one.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgecritic.errors import ArtifactError, MissingExtraError, shown
from edgecritic.staging import existing
from edgecritic_export.checkpoints.provenance import recorded_base, recorded_origin

if TYPE_CHECKING:
    from huggingface_hub import DryRunFileInfo

log = logging.getLogger(__name__)

_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Nothing that could run code, and nothing of subfolders, where other formats and reference
# policies lie.
_WANTED: Final = ("*.safetensors", "*.json", "*.txt", "*.jinja")
_UNWANTED: Final = ("*/*",)
_DISK_MARGIN: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint that lies on this machine.

    Attributes:
        folder: its files.
        repo: ``owner/name`` on the hub; empty for a folder that was named.
        revision: commit hash in the repository; empty for a folder that was named.
    """

    folder: Path
    repo: str = ""
    revision: str = ""

    @property
    def name(self) -> str:
        """What to call it: its repository, also that of an imported copy, or its folder's name."""
        recorded = recorded_origin(self.folder).partition("@")[0]
        return self.repo or recorded or self.folder.resolve().name

    @property
    def origin(self) -> str:
        """``owner/name@commit`` of what came from the hub; empty for a folder that was named."""
        return f"{self.repo}@{self.revision}" if self.repo else ""

    @property
    def described(self) -> str:
        """What a card calls it: for what was merged, the base that it was merged into."""
        return self.origin or recorded_base(self.folder) or self.name


def resolve(
    source: str | os.PathLike[str],
    revision: str | None = None,
    *,
    cache: Path | None = None,
) -> Source:
    """Find a checkpoint, and fetch it from the hub if need be.

    Args:
        source: a folder, or ``owner/name`` on the hub; a folder of that name wins.
        revision: branch, tag or commit on the hub; its main branch when left out.
        cache: the hub's cache folder; huggingface-hub's own when left out.

    Raises:
        ArtifactError: there is no such folder, repository or revision, access is not granted, the
            hub cannot be reached and the files are not in the cache, the repository holds no
            safetensors, or the disk is too small.
        MissingExtraError: huggingface-hub is needed and not installed.
    """
    folder = Path(source).expanduser()
    name = os.fspath(source)
    if folder.is_dir():
        if revision is not None:
            raise ArtifactError(
                f"{folder} is a folder and has no revision {shown(revision)}",
                "leave the revision out, or name a repository on the hub",
            )
        return Source(folder)
    if not _REPOSITORY.fullmatch(name):
        raise ArtifactError(
            f"{name} is no folder",
            "name a folder with a checkpoint, or owner/name of a repository on the hub",
        )
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise MissingExtraError(
            f"{name} is no folder, and fetching it from the hub needs huggingface-hub",
            "pip install 'edgecritic[export]'",
        ) from error
    if constants.is_offline_mode():
        return _cached(name, revision, cache, why="HF_HUB_OFFLINE is set")
    return _fetched(name, revision, cache)


def _fetched(repo: str, revision: str | None, cache: Path | None) -> Source:
    from huggingface_hub import snapshot_download

    # Of httpx or httpx2, whichever this version of huggingface-hub talks through.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        DryRunError,
        HfHubHTTPError,
        HTTPError,
    )

    options: dict[str, Any] = {
        "cache_dir": cache,
        "allow_patterns": list(_WANTED),
        "ignore_patterns": list(_UNWANTED),
    }
    try:
        files = snapshot_download(repo, revision=revision, dry_run=True, **options)
    except HfHubHTTPError as error:
        raise _refusal(repo, revision, error) from error
    except DryRunError as error:  # the hub gave no listing
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError) and cause.response.status_code < 500:
            raise _refusal(repo, revision, cause) from error
        return _cached(repo, revision, cache, why=f"the hub cannot be reached: {cause}")
    except (HTTPError, OSError) as error:
        return _cached(repo, revision, cache, why=f"the hub cannot be reached: {error}")
    commit = _checked_listing(repo, files, cache)
    try:
        folder = snapshot_download(repo, revision=commit, **options)
    except HfHubHTTPError as error:
        raise _refusal(repo, revision, error) from error
    except (HTTPError, OSError) as error:
        raise ArtifactError(
            f"{repo}@{commit[:12]} could not be fetched: {error}",
            "check the network and run the command again: what was fetched is kept",
        ) from error
    return Source(Path(folder), repo, commit)


def _checked_listing(repo: str, files: list[DryRunFileInfo], cache: Path | None) -> str:
    """The commit of a listing that holds a checkpoint for which there is room."""
    if not any(file.filename.endswith(".safetensors") for file in files):
        raise ArtifactError(
            f"{repo} publishes no .safetensors files",
            "only safetensors are read, as a pickled checkpoint could run any code; look for a "
            "conversion of it on the hub",
        )
    needed = sum(file.file_size or 0 for file in files if file.will_download)
    folder = _cache_folder(cache)
    above = existing(folder)
    free = shutil.disk_usage(above).free
    if needed and free < needed + _DISK_MARGIN:
        raise ArtifactError(
            f"{repo} needs {needed / 1e9:.2f} GB, {above} has {free / 1e9:.2f} GB left",
            "free some space, or name a cache folder on another disk in HF_HUB_CACHE",
        )
    log.info("%s: %.2f GB to fetch", repo, needed / 1e9)
    return files[0].commit_hash


def _cached(repo: str, revision: str | None, cache: Path | None, *, why: str) -> Source:
    """The repository as it lies in the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                repo,
                revision=revision,
                cache_dir=cache,
                allow_patterns=list(_WANTED),
                ignore_patterns=list(_UNWANTED),
                local_files_only=True,
            )
        )
    except LocalEntryNotFoundError as error:
        raise ArtifactError(
            f"{_named(repo, revision)} is not, or not wholly, in {_cache_folder(cache)}, and {why}",
            "connect to the network (without HF_HUB_OFFLINE) and run the command again",
        ) from error
    log.info("%s is taken from the cache: %s", _named(repo, revision), why)
    return Source(folder, repo, folder.name)


def _cache_folder(cache: Path | None) -> Path:
    from huggingface_hub import constants

    return Path(cache or constants.HF_HUB_CACHE).expanduser().absolute()


def _named(repo: str, revision: str | None) -> str:
    return repo if revision is None else f"{repo}@{revision}"


def _refusal(repo: str, revision: str | None, error: Exception) -> ArtifactError:
    """What the hub's answer means, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    if isinstance(error, RevisionNotFoundError):
        return ArtifactError(
            f"{repo} has no revision {shown(revision)}",
            "name a branch, a tag or a whole commit hash that its page on the hub shows",
        )
    if isinstance(error, GatedRepoError):
        return ArtifactError(
            f"{repo} is gated, and access was not granted (HTTP {status})",
            "accept its terms on its page on the hub, then set HF_TOKEN to a token of that account",
        )
    # To a stranger the hub denies (401) that a repository exists, private or not.
    if isinstance(error, RepositoryNotFoundError) or status in (401, 403):
        return ArtifactError(
            f"{repo} is not on the hub, or it is private (HTTP {status})",
            "check the name; for a private repository set HF_TOKEN to a token that may read it",
        )
    return ArtifactError(
        f"the hub refused {_named(repo, revision)}: {error}", "try again later, or name a folder"
    )
