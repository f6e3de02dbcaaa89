"""What the cache folder holds: bundles from the hub, model files, forms made on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from edgecritic.bundle import MANIFEST, Bundle
from edgecritic.cache_folder import PART, cache_home, cache_path, part_of_file
from edgecritic.errors import ArtifactError, InputError
from edgecritic.hub import HubName, bundles_home

Kind: TypeAlias = Literal["bundle", "form", "file"]
_FORM: Final = "form:"


@dataclass(frozen=True, slots=True)
class Kept:
    """Something in the cache folder.

    Attributes:
        name: as `remove` takes it, but for model files, which go with the bundle that names them.
        kind: ``bundle``; ``form`` for what was made of a bundle for another engine; ``file`` for
            a model file that bundles name.
        path: where it lies.
        size: bytes on disk.
        complete: nothing is missing.
        of: of a form, the critic that it is one of; empty where it is not complete.
    """

    name: str
    kind: Kind
    path: Path
    size: int
    complete: bool
    of: str = ""


def kept() -> Iterator[Kept]:
    """What the cache folder holds: bundles, then forms, then files, each by name."""
    for folder in _folders(bundles_home()):
        repo, _, revision = folder.name.partition("@")
        name = HubName(repo.replace("--", "/", 1), revision)
        yield Kept(str(name), "bundle", folder, _size(folder), (folder / MANIFEST).is_file())
    for folder in _derived():
        form = _form(folder)
        of = "" if form is None else form.name
        yield Kept(_FORM + folder.name, "form", folder, _size(folder), form is not None, of)
    for folder in _folders(cache_home() / "models"):
        for path in sorted(folder.iterdir()):
            yield Kept(path.name, "file", path, path.stat().st_size, complete=True)
    for folder in sorted((cache_home() / "models").glob(f"{PART}*")):
        if size := _size(folder):
            yield Kept(_external_name(folder), "file", folder, size, complete=False)


def remove(name: str) -> list[Path]:
    """Remove a bundle from the cache folder, with forms of it and files that no other one needs.

    Args:
        name: of a bundle on the hub; ``embedded`` for what the embedded critic keeps there; or
            of a form alone, as `kept` tells it.

    Returns:
        What was removed.

    Raises:
        InputError: it is no such name.
        ArtifactError: nothing of it is in the cache folder, or it cannot be removed.
    """
    gone = _of_form(name) if name.startswith(_FORM) else _of_bundle(name)
    if not gone:
        raise ArtifactError(
            f"nothing of {name} is in {cache_home()}", "see: edgecritic models list"
        )
    try:
        for path in gone:
            shutil.rmtree(path)
    except OSError as error:
        raise ArtifactError(
            f"{name} cannot be removed: {error}",
            "the cache folder must be yours to write to (EDGECRITIC_HOME names another one)",
        ) from error
    return gone


def _of_form(name: str) -> list[Path]:
    return [folder for folder in _derived() if _FORM + folder.name == name]


def _of_bundle(name: str) -> list[Path]:
    hub_name = HubName.of(name)
    if hub_name is None and name != "embedded":
        raise InputError(
            f"{name!r} is no bundle in the cache folder",
            "name one that edgecritic models list shows; remove folders of your own yourself",
        )
    gone = [hub_name.folder] if hub_name is not None and hub_name.folder.exists() else []
    bundle = _readable(hub_name.folder) if hub_name is not None else Bundle.embedded()
    if bundle is None:
        return gone
    others = [_readable(other.path) for other in kept() if other.kind == "bundle"]
    if hub_name is not None:
        others.append(Bundle.embedded())
    needed = {
        file.sha256
        for other in others
        if other is not None and other.folder != bundle.folder
        for file in other.manifest.files
    }
    for file in bundle.manifest.files:
        if file.external and file.sha256 not in needed:
            places = cache_path(file).parent, part_of_file(file.sha256)
            gone += [place for place in places if place.exists()]
    return gone + _forms_of(bundle, needed)


def _forms_of(bundle: Bundle, needed: set[str]) -> list[Path]:
    """Forms that were made of this bundle's files, and not of such as another one has them all."""
    held = {file.sha256 for file in bundle.manifest.files}
    found = []
    for folder in _derived():
        form = _form(folder)
        derived = None if form is None else form.manifest.derived_from
        if derived is not None and set(derived.files) <= held and not set(derived.files) <= needed:
            found.append(folder)
    return found


def _derived() -> list[Path]:
    """Folders of forms; what only holds a lock is none."""
    return [folder for folder in _folders(cache_home() / "derived") if _folders(folder)]


def _form(folder: Path) -> Bundle | None:
    """The form in a folder, of which only the newest recipe's is kept."""
    found = (_readable(recipe) for recipe in _folders(folder))
    return next((form for form in found if form is not None), None)


def _readable(folder: Path) -> Bundle | None:
    try:
        return Bundle.read(folder)
    except ArtifactError:  # it was interrupted while it was made, or another version wrote it
        return None


def _external_name(part: Path) -> str:
    """Of a file that is fetched in part, as the bundle says that names it."""
    bundles = [Bundle.embedded(), *map(_readable, _folders(bundles_home()))]
    files = [file for bundle in bundles if bundle for file in bundle.manifest.files]
    found = (file.path for file in files if part_of_file(file.sha256) == part)
    return next(found, part.name.removeprefix(PART))


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and path.name[0] != ".")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
