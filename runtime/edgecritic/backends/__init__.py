"""Engines that run a critic, each behind the Protocol of `base`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from edgecritic.backends.base import Backend
from edgecritic.backends.options import EngineOptions
from edgecritic.errors import InputError

if TYPE_CHECKING:
    from edgecritic.bundle import Bundle


def _llamacpp(bundle: Bundle, options: EngineOptions) -> Backend:
    from edgecritic.backends.llamacpp import LlamaCppBackend

    manifest = bundle.manifest
    return LlamaCppBackend(
        bundle.file("language_model"),
        mmproj=None if manifest.image is None else bundle.file("mmproj"),
        adapters=[bundle.verified(file) for file in manifest.having("adapter")],
        options=options,
    )


_LOADERS: Final[dict[str, Callable[[Bundle, EngineOptions], Backend]]] = {"llamacpp": _llamacpp}


def backend_names() -> list[str]:
    """Engines that can be asked for by name."""
    return ["auto", *_LOADERS]


def load_backend(bundle: Bundle, name: str, options: EngineOptions) -> Backend:
    """Start the engine that runs a bundle; its files are verified before they are opened.

    Args:
        bundle: what to load.
        name: one of `backend_names`; ``"auto"`` takes the engine of the bundle's files.
        options: context, threads, device.

    Raises:
        InputError: there is no such engine.
        ArtifactError: a file is missing or damaged.
        MissingExtraError: the engine is not installed.
        BackendUnavailableError: it could not start.
    """
    wanted = "llamacpp" if name == "auto" else name  # GGUF is what bundles of schema 1 hold
    if wanted not in _LOADERS:
        raise InputError(
            f"there is no backend {name!r}", f"known backends: {', '.join(backend_names())}"
        )
    return _LOADERS[wanted](bundle, options)
