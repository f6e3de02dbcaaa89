"""Data sets on the hub: fetched by huggingface-hub, and told with their commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecritic import ArtifactError, InputError, MissingExtraError

PREFIX = "hub:"
"""What to write in place of a path to have a benchmark's data fetched."""


@dataclass(frozen=True, slots=True)
class HubData:
    """Where a benchmark's data lies on the hub.

    Attributes:
        repo: ``owner/name`` of a data set.
        patterns: files that are needed.
        licence: as its card says.
    """

    repo: str
    patterns: tuple[str, ...]
    licence: str


@dataclass(frozen=True, slots=True)
class Data:
    """A benchmark's data on this machine.

    Attributes:
        path: a file or folder.
        origin: where it comes from, with the commit if from the hub.
    """

    path: Path
    origin: str


def locate(name: str, published: HubData | None, cache: Path | None = None) -> Data:
    """Find data, and fetch it if need be.

    Args:
        name: a path; ``hub:`` for what is published; ``hub:owner/name`` for another repository; a
            commit, tag or branch may follow behind an ``@``.
        published: where the benchmark is published; None where it is not.
        cache: the hub's cache folder; huggingface-hub's own when left out.

    Raises:
        InputError: there is no such path, or the benchmark is published nowhere.
        ArtifactError: the hub does not give it, and the cache does not hold it.
        MissingExtraError: huggingface-hub is needed and not installed.
    """
    if not name.startswith(PREFIX):
        path = Path(name).expanduser()
        if not path.exists():
            raise InputError(f"{path} is not there", f"name a file or folder, or {PREFIX} to fetch")
        return Data(path, path.name)
    repo, _, revision = name.removeprefix(PREFIX).partition("@")
    if not repo and published is None:
        raise InputError("this data is not published on the hub", "name a file or folder of yours")
    patterns = published.patterns if published else ("*",)
    repo = repo or (published.repo if published else "")
    return _fetched(repo, revision or None, patterns, cache)


def _fetched(
    repo: str, revision: str | None, patterns: tuple[str, ...], cache: Path | None
) -> Data:
    try:
        from huggingface_hub import snapshot_download

        # HTTPError is of httpx or httpx2, whichever this version talks through.
        from huggingface_hub.errors import (  # type: ignore[attr-defined]
            GatedRepoError,
            HfHubHTTPError,
            HTTPError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError as error:
        raise MissingExtraError(
            f"fetching {repo} needs huggingface-hub", "pip install 'edgecritic[bench]'"
        ) from error
    named = repo if revision is None else f"{repo}@{revision}"
    try:
        folder = Path(
            snapshot_download(
                repo,
                repo_type="dataset",
                revision=revision,
                cache_dir=cache,
                allow_patterns=list(patterns),
            )
        )
    except RevisionNotFoundError as error:
        raise ArtifactError(
            f"{repo} has no revision {revision!r}", "name a branch, a tag or a whole commit hash"
        ) from error
    except GatedRepoError as error:
        raise ArtifactError(
            f"{repo} is gated, and access was not granted",
            "accept its terms on its page on the hub, then set HF_TOKEN to a token of that account",
        ) from error
    except RepositoryNotFoundError as error:
        raise ArtifactError(
            f"the data set {repo} is not on the hub, or it is private",
            "check the name; for a private one set HF_TOKEN to a token that may read it",
        ) from error
    except LocalEntryNotFoundError as error:
        raise ArtifactError(
            f"{named} is not in the cache, and the hub cannot be reached",
            "connect to the network (without HF_HUB_OFFLINE), or name a folder of yours",
        ) from error
    except (HfHubHTTPError, HTTPError, OSError) as error:
        raise ArtifactError(
            f"{named} could not be fetched: {error}",
            "check the network and run the command again: what was fetched is kept",
        ) from error
    # The cache names the folder of a snapshot by its commit.
    return Data(folder, f"{repo}@{folder.name[:12]}")
