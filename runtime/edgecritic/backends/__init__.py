"""Engines that run a critic, each behind the Protocol of `base`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, TypeAlias

from edgecritic.backends.base import Backend
from edgecritic.backends.options import Device, EngineOptions
from edgecritic.errors import ArtifactError, CriticError, InputError
from edgecritic.fit.machine import Machine
from edgecritic.vision.native import NativeGeometry

if TYPE_CHECKING:
    from edgecritic.backends.llamacpp.native import Package
    from edgecritic.bundle import Bundle
    from edgecritic.manifest import Format

logger = logging.getLogger(__name__)
Progress: TypeAlias = Callable[[str], None]


def _llamacpp(
    bundle: Bundle, options: EngineOptions, package: Package = "llama-cpp-python"
) -> Backend:
    from edgecritic.backends.llamacpp import LlamaCppBackend

    manifest = bundle.manifest
    return LlamaCppBackend(
        bundle.file("language_model"),
        mmproj=None if manifest.image is None else bundle.file("mmproj"),
        adapters=[bundle.verified(file) for file in manifest.having("adapter")],
        options=options,
        package=package,
    )


def _onnx(bundle: Bundle, options: EngineOptions) -> Backend:
    from edgecritic.backends.onnx import OnnxBackend, OnnxFiles

    geometry = bundle.manifest.image
    if isinstance(geometry, NativeGeometry):
        raise ArtifactError(
            f"{bundle.name} holds ONNX files of a critic that sees pictures at their own "
            "resolution, which this engine does not run",
            "export the critic as GGUF, or judge with backend='hf'",
        )
    return OnnxBackend(OnnxFiles.of(bundle), geometry=geometry, options=options)


def _hf(bundle: Bundle, options: EngineOptions) -> Backend:
    from edgecritic.backends.hf import HfBackend
    from edgecritic.backends.hf.artifacts import find_folders

    listed = bundle.files("checkpoint", "config", "tokenizer")
    folder, adapter = find_folders(bundle.folder, bundle.files("checkpoint"))
    return HfBackend(
        folder, adapter=adapter, listed=listed, geometry=bundle.manifest.image, options=options
    )


def _has_onnx_form(bundle: Bundle) -> bool:
    from edgecritic.derived.onnx_form import has_onnx_form

    return has_onnx_form(bundle)


def _onnx_form_pays(bundle: Bundle) -> bool:
    from edgecritic.derived.onnx_form import onnx_form_pays

    return onnx_form_pays(bundle)


def _onnx_form(bundle: Bundle, tell: Progress | None) -> Bundle:
    from edgecritic.backends.onnx.runtime import load_runtime
    from edgecritic.derived.onnx_form import onnx_form

    load_runtime()  # nothing is made for an engine that is not there
    return onnx_form(bundle, progress=tell)


@dataclass(frozen=True, slots=True)
class Derivable:
    """How an engine comes to files of its format that a bundle does not hold.

    Attributes:
        can: whether they can be made of a bundle's.
        make: the bundle in that form; the second argument is told what goes on.
        pays: whether that is quicker on a CPU than an engine that runs the bundle as it is.
    """

    can: Callable[[Bundle], bool]
    make: Callable[[Bundle, Progress | None], Bundle]
    pays: Callable[[Bundle], bool]


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that can be asked for by name.

    Attributes:
        format: of the files it runs.
        module: the package that must be importable.
        load: starts it.
        chooses_weights: whether it can load weights in another precision than they are stored in.
        derivable: where its files can be made on this machine.
    """

    format: Format
    module: str
    load: Callable[[Bundle, EngineOptions], Backend]
    chooses_weights: bool = False
    derivable: Derivable | None = None

    @property
    def is_installed(self) -> bool:
        """Whether its package is there."""
        return find_spec(self.module) is not None

    def can_run(self, bundle: Bundle) -> bool:
        """Whether the bundle holds its files, or they can be made of those that it holds."""
        held = self.format in bundle.manifest.formats
        return held or (self.derivable is not None and self.derivable.can(bundle))


_ONNX_FORM: Final = Derivable(_has_onnx_form, _onnx_form, _onnx_form_pays)
ENGINES: Final[dict[str, Engine]] = {
    "llamacpp": Engine("gguf", "llama_cpp", _llamacpp),
    "inferna": Engine("gguf", "inferna", partial(_llamacpp, package="inferna")),
    "onnx": Engine("onnx", "onnxruntime", _onnx, derivable=_ONNX_FORM),
    "hf": Engine("hf", "transformers", _hf, chooses_weights=True),
}
"""By name, the preferred ones first."""


def backend_names() -> list[str]:
    """Engines that can be asked for by name."""
    return ["auto", *ENGINES]


def choose_backend(bundle: Bundle, name: str) -> str:
    """Which engine runs a bundle, and why (in the log).

    Args:
        bundle: what to load.
        name: one of `backend_names`; ``"auto"`` takes the first engine that is installed and has
            its files in the bundle, or else the first that is installed and for which they can be
            made.

    Raises:
        InputError: there is no such engine, or the bundle does not hold its files.
    """
    held = bundle.manifest.formats
    if name != "auto":
        if name not in ENGINES:
            raise InputError(
                f"there is no backend {name!r}", f"known backends: {', '.join(backend_names())}"
            )
        if not ENGINES[name].can_run(bundle):
            raise InputError(
                f"backend {name} runs {ENGINES[name].format} files, and {bundle.name} holds "
                f"{', '.join(held)}",
                "leave the choice to backend='auto', or export the critic in that format",
            )
        return name
    holding = [name for name, engine in ENGINES.items() if engine.format in held]
    fitting = [*holding, *(name for name in ENGINES if name not in holding)]
    fitting = [name for name in fitting if ENGINES[name].can_run(bundle)]
    if not fitting:
        raise InputError(
            f"no backend runs {', '.join(held)} files, which is what {bundle.name} holds",
            "upgrade with: pip install -U edgecritic",
        )
    installed = [name for name in fitting if ENGINES[name].is_installed]
    chosen = (installed or fitting)[0]
    logger.info(
        "backend %s: %s holds %s files, installed of %s: %s",
        chosen,
        bundle.name,
        "/".join(held),
        ", ".join(fitting),
        ", ".join(installed) or "none",
    )
    return chosen


def in_engines_form(bundle: Bundle, name: str, tell: Progress | None = None) -> Bundle:
    """The bundle with files that an engine runs: itself, or what was made of it on this machine.

    Args:
        bundle: what to load.
        name: as `choose_backend` gave it.
        tell: is told what goes on while files are made, one line each time.

    Raises:
        ArtifactError: a file is missing or damaged, or cannot be converted or stored.
        MissingExtraError: files would have to be made, and the engine is not installed.
    """
    engine = ENGINES[name]
    if engine.format in bundle.manifest.formats or engine.derivable is None:
        return bundle
    return engine.derivable.make(bundle, tell)


def prepare(
    bundle: Bundle, name: str, device: Device = "auto", tell: Progress | None = None
) -> tuple[str, Bundle]:
    """Which engine to load, and the bundle with files that it runs.

    Where the choice is left to us and the critic runs on a CPU, a form that pays is preferred to
    the bundle as it is. Where it cannot be made, the bundle is taken as it is.

    Args:
        bundle: what to load.
        name: see `choose_backend`.
        device: where it will run; with ``"auto"`` a GPU that is there counts.
        tell: see `in_engines_form`.

    Raises:
        InputError: see `choose_backend`.
        ArtifactError: see `in_engines_form`.
        MissingExtraError: see `in_engines_form`.
    """
    chosen = choose_backend(bundle, name)
    runs_it = ENGINES[chosen].is_installed and ENGINES[chosen].format in bundle.manifest.formats
    for other, engine in ENGINES.items() if name == "auto" and runs_it else ():
        if engine.derivable is None or not engine.is_installed or not engine.derivable.pays(bundle):
            continue
        if device == "gpu" or (device == "auto" and Machine.here().vram is not None):
            continue
        try:
            form = engine.derivable.make(bundle, tell)
        except CriticError as error:
            logger.info("backend %s, as %s cannot be had: %s", chosen, other, error.message)
        else:
            logger.info("backend %s: quicker here than %s", other, chosen)
            return other, form
    return chosen, in_engines_form(bundle, chosen, tell)


def load_backend(bundle: Bundle, name: str, options: EngineOptions) -> Backend:
    """Start the engine that runs a bundle; its files are verified before they are opened.

    Args:
        bundle: what to load.
        name: see `choose_backend`.
        options: context, threads, device, weights.

    Raises:
        InputError: see `choose_backend`; or the engine cannot load such weights.
        ArtifactError: a file is missing or damaged.
        MissingExtraError: the engine is not installed.
        BackendUnavailableError: it could not start.
    """
    chosen = choose_backend(bundle, name)
    if options.weights != "auto" and not ENGINES[chosen].chooses_weights:
        raise InputError(
            f"backend {chosen} takes weights as they are stored, not as {options.weights}",
            "name a bundle of that precision, or use backend='hf'",
        )
    return ENGINES[chosen].load(in_engines_form(bundle, chosen), options)
