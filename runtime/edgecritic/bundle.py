"""Bundles: a folder with ``critic.json``, each of whose files is checked before it is opened."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecritic.cache_folder import cached_file
from edgecritic.errors import ArtifactError, InputError
from edgecritic.hashing import file_sha256, verify
from edgecritic.manifest import BundleFile, Manifest, Role
from edgecritic.prompts import Dialect, load_dialect
from edgecritic.strict_json import decode

MANIFEST = "critic.json"
_MAX_MANIFEST_BYTES = 1 << 20
_OF_CHECKPOINTS = ("model.safetensors", "model.safetensors.index.json")
_MAX_NEWLINE_BYTES = 1 << 20
# How NumPy begins the file of a float32 vector. Its own reader parses the head as Python, and sets
# aside as much memory as that asks for.
_VECTOR = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<f4', 'fortran_order': False, "
    rb"'shape': \((\d{1,6}),\), \} *\n",
    re.DOTALL,
)
_AGAIN = "export the bundle again"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A critic on disk.

    Attributes:
        folder: where it lies.
        manifest: what its ``critic.json`` says.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Bundle:
        """Read a bundle's manifest; its files are looked at when they are asked for.

        Args:
            path: the folder, or the ``critic.json`` in it.

        Raises:
            ArtifactError: there is no manifest, it cannot be used, or it was made for a prompt
                dialect that this edgecritic does not have.
        """
        folder = Path(path)
        if folder.name == MANIFEST:
            folder = folder.parent
        where = folder / MANIFEST
        bundle = cls(folder, Manifest.from_dict(str(where), _read_json(where)))
        bundle.dialect()
        return bundle

    @classmethod
    def embedded(cls) -> Bundle:
        """The critic that ships with edgecritic.

        Raises:
            ArtifactError: this installation has none.
        """
        folder = _embedded_folder()
        if not (folder / MANIFEST).is_file():
            raise ArtifactError(
                f"this installation has no embedded critic: {folder / MANIFEST} is missing",
                "name a bundle folder; the README says which versions ship a trained critic",
            )
        return cls.read(folder)

    @property
    def name(self) -> str:
        """Name and version, as judgements carry it."""
        return f"{self.manifest.name}-{self.manifest.version}"

    def dialect(self) -> Dialect:
        """The prompts that the critic was trained with.

        Raises:
            ArtifactError: they are not installed, or differ from those of the training.
        """
        wanted = self.manifest.dialect
        dialect = load_dialect(wanted.name)
        if dialect.digest != wanted.digest:
            raise ArtifactError(
                f"{self.folder / MANIFEST}: the critic was trained with prompts "
                f"{wanted.name}@{wanted.digest[:12]}, installed is {dialect.identity}",
                "install the edgecritic that the bundle was made with, or export the bundle again",
            )
        return dialect

    def file(self, role: Role) -> Path:
        """The verified file of a role that occurs once.

        Raises:
            ArtifactError: the bundle has none, or the file is missing or damaged.
        """
        found = self.manifest.having(role)
        if len(found) != 1:
            raise ArtifactError(
                f"{self.folder / MANIFEST} lists {len(found)} files as {role}, not one",
                "export the bundle again with this file",
            )
        return self.verified(found[0])

    def context(self, n_ctx: int | None = None) -> int:
        """Tokens of context to load the critic with: the asked ones, or what it was made for.

        Raises:
            InputError: it was made for fewer.
        """
        longest = self.manifest.n_ctx
        if n_ctx is not None and n_ctx > longest:
            raise InputError(
                f"n_ctx is {n_ctx}, and {self.name} was made for at most {longest} tokens",
                f"give at most {longest}",
            )
        return longest if n_ctx is None else n_ctx

    def verified(self, file: BundleFile) -> Path:
        """Where a file lies, after its size and sha256 were checked.

        Raises:
            ArtifactError: it is missing or damaged, or lies outside of the bundle's folder.
        """
        if file.external:
            embedded = self.folder == _embedded_folder()
            name = "embedded" if embedded else str(self.folder)
            return cached_file(file, bundle=name)
        path = self.folder / file.path
        try:
            inside = path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, to Python 3.12
            raise ArtifactError(
                f"{path} cannot be read: {error}", "put the file itself into the folder"
            ) from error
        if not inside:
            raise ArtifactError(
                f"{path} is a link that leaves the bundle's folder",
                "put the file itself into the folder",
            )
        verify(path, file.size, file.sha256, "fetch or export the bundle again")
        return path

    def files(self, *roles: Role) -> tuple[Path, ...]:
        """The verified files of some roles, in the manifest's order; there may be none.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        return tuple(self.verified(file) for file in self.manifest.files if file.role in roles)

    def image_newline(self) -> NDArray[np.float32]:
        """(n_embd,) float32, the learned separator of the picture's rows.

        Raises:
            ArtifactError: as for `file`, or the file holds no such vector.
        """
        path = self.file("image_newline")
        if path.stat().st_size > _MAX_NEWLINE_BYTES:
            raise ArtifactError(f"{path} is too large for one vector", _AGAIN)
        content = path.read_bytes()
        head = _VECTOR.match(content)
        newline = np.frombuffer(content[head.end() :] if head else b"", np.uint8)
        if not head or newline.nbytes != 4 * int(head[1]) or not newline.nbytes:
            raise ArtifactError(f"{path} holds no (n_embd,) float32 vector", _AGAIN)
        vector = newline.view("<f4").astype(np.float32)
        if not np.isfinite(vector).all():
            raise ArtifactError(f"{path} holds a value that is not finite", _AGAIN)
        return vector

    def describe(self) -> dict[str, object]:
        """The manifest as JSON-ready values, with where the bundle lies."""
        return {"folder": str(self.folder), **self.manifest.to_dict()}


def _embedded_folder() -> Path:
    return Path(str(package_files("edgecritic") / "embedded"))


def _read_json(path: Path) -> object:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe could block, a device never end
            raise ArtifactError(
                f"{path} cannot be read: it is no plain file", "name a bundle folder"
            )
        with path.open("rb") as file:
            content = file.read(_MAX_MANIFEST_BYTES + 1)
        if len(content) > _MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{path} is over 1 MiB, no manifest", "name a bundle folder")
        return decode(content.decode())
    except (FileNotFoundError, NotADirectoryError) as error:
        checkpoint = any((path.parent / name).is_file() for name in _OF_CHECKPOINTS)
        raise ArtifactError(
            f"there is no bundle at {path.parent}: {path.name} is missing",
            "it is a checkpoint; make bundles of it: edgecritic export all CHECKPOINT --out BUNDLES"
            if checkpoint
            else "name a folder that holds a critic.json",
        ) from error
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} cannot be read: {error}", "fetch or export the bundle again"
        ) from error


def describe_file(role: Role, source: Path, path: str = "", quant: str = "") -> BundleFile:
    """The manifest entry of a file that a bundle shall hold.

    Args:
        role: what it is for.
        source: the file as it is now.
        path: its place in the bundle; its own name when left out.
        quant: quant type, if it has one.
    """
    return BundleFile(role, path or source.name, file_sha256(source), source.stat().st_size, quant)


def write_bundle(
    folder: str | os.PathLike[str], manifest: Manifest, sources: Mapping[str, Path]
) -> Bundle:
    """Copy files into a bundle's folder and write its manifest, which comes last.

    A reader at any moment finds the old bundle, the new one, or a file that its manifest refuses;
    never a half-written file. Files of an older bundle that the new one does not list stay.

    Args:
        folder: made if need be.
        manifest: what to write.
        sources: for each file that is not external the path of its content, by manifest path.

    Raises:
        ArtifactError: a source is missing, or is not what the manifest says.
    """
    folder = Path(folder)
    checked = Manifest.from_dict(str(folder / MANIFEST), decode(_dumps(manifest)))
    inside = [file for file in checked.files if not file.external]
    for file in inside:
        if file.path not in sources:
            raise ArtifactError(
                f"no content is given for {file.path}", "name a source for every file"
            )
        verify(sources[file.path], file.size, file.sha256, "describe the file again")
    for file in inside:
        source, target = sources[file.path], folder / file.path
        if not target.exists() or not target.samefile(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f"{target.name}.partial")
            shutil.copyfile(source, partial)
            _into_place(partial, target)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(_dumps(manifest), encoding="utf-8", newline="\n")
    _into_place(partial, folder / MANIFEST)
    return Bundle.read(folder)


def _dumps(manifest: Manifest) -> str:
    return json.dumps(manifest.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _into_place(partial: Path, target: Path) -> None:
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(target)
