"""A data set's files from the hub, pinned to one commit.

``HF_TOKEN``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE`` and ``HF_HUB_CACHE`` have the meaning that
huggingface-hub gives them; files that were fetched are kept in its cache.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgecritic.errors import ArtifactError, MissingExtraError

logger = logging.getLogger(__name__)
_DISK_MARGIN = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FetchedSet:
    """A data set's files on this machine.

    Attributes:
        folder: holds them by their names in the repository.
        origin: ``owner/name@commit``.
    """

    folder: Path
    origin: str


def fetch_set(repo: str, patterns: tuple[str, ...], revision: str | None = None) -> FetchedSet:
    """Fetch the files of a data set that match one of the patterns.

    Args:
        repo: ``owner/name``.
        patterns: such as ``pairwise/*.parquet``.
        revision: branch, tag or commit; the main branch when left out.

    Raises:
        ArtifactError: there is no such set, access is not granted, the hub cannot be reached and
            the files are not in the cache, no file matches, or the disk is too small.
        MissingExtraError: huggingface-hub is not installed.
    """
    try:
        from huggingface_hub import constants, snapshot_download

        # HTTPError is of httpx or httpx2, whichever this version talks through.
        from huggingface_hub.errors import (  # type: ignore[attr-defined]
            DryRunError,
            HfHubHTTPError,
            HTTPError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise MissingExtraError(
            f"fetching {repo} needs huggingface-hub", "pip install 'edgecritic[hub]'"
        ) from error
    again = "check the network and run the command again: what was fetched is kept"
    allowed = list(patterns)
    try:
        if constants.is_offline_mode():
            folder = snapshot_download(
                repo,
                repo_type="dataset",
                revision=revision,
                allow_patterns=allowed,
                local_files_only=True,
            )
        else:
            files = snapshot_download(
                repo, repo_type="dataset", revision=revision, allow_patterns=allowed, dry_run=True
            )
            if not files:
                raise ArtifactError(
                    f"{repo} has no file that matches {', '.join(patterns)}",
                    "check the name of the configuration",
                )
            _check_disk(repo, sum(f.file_size or 0 for f in files if f.will_download))
            revision = files[0].commit_hash
            folder = snapshot_download(
                repo, repo_type="dataset", revision=revision, allow_patterns=allowed
            )
    except LocalEntryNotFoundError as error:
        raise ArtifactError(
            f"{repo} is not, or not wholly, in the cache: {error}",
            "connect to the network (without HF_HUB_OFFLINE) and run the command again",
        ) from error
    except HfHubHTTPError as error:
        raise _refusal(repo, revision, error) from error
    except DryRunError as error:  # the hub gave no listing; its cause says why
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError):
            raise _refusal(repo, revision, cause) from error
        raise ArtifactError(f"{repo} cannot be listed: {cause}", again) from error
    except (HTTPError, OSError) as error:
        raise ArtifactError(f"{repo} could not be fetched: {error}", again) from error
    return FetchedSet(Path(folder), f"{repo}@{Path(folder).name}")


def _check_disk(repo: str, needed: int) -> None:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE).expanduser().absolute()
    existing = next(path for path in (cache, *cache.parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    if needed and free < needed + _DISK_MARGIN:
        raise ArtifactError(
            f"{repo} needs {needed / 1e9:.2f} GB, {existing} has {free / 1e9:.2f} GB left",
            "free some space, or name a cache folder on another disk in HF_HUB_CACHE",
        )
    logger.info("%s: %.2f GB to fetch", repo, needed / 1e9)


def _refusal(repo: str, revision: str | None, error: Exception) -> ArtifactError:
    """What the hub's answer means, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return ArtifactError(
            f"{repo} is gated, and access was not granted",
            "accept its terms on its page on the hub, then set HF_TOKEN to a token of that account",
        )
    if isinstance(error, RevisionNotFoundError):
        return ArtifactError(
            f"{repo} has no revision {revision!r}", "name a branch, a tag or a whole commit hash"
        )
    if isinstance(error, RepositoryNotFoundError):
        return ArtifactError(
            f"there is no data set {repo} on the hub, or it is private",
            "check the name; for a private one set HF_TOKEN to a token that may read it",
        )
    return ArtifactError(f"the hub refused {repo}: {error}", "try again later")
