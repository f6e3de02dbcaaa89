"""A GGUF critic in its ONNX form: made once on the user's machine, then read like any bundle.

::

    <cache>/derived/<16 digits of what it was made from>/<recipe>/critic.json, onnx/...

The language model is dequantised, adapters are merged, and its matrices are quantized again to
eight bits, which loses little and is what ONNX Runtime computes fastest with on a CPU.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgecritic.backends.llamacpp.artifacts import check_language_model
from edgecritic.backends.llamacpp.projector_file import check_projector, tower_shape
from edgecritic.bundle import Bundle, describe_file, write_bundle
from edgecritic.cache_folder import cache_home
from edgecritic.derived.gguf_weights import GgufLanguageModel, GgufWeights
from edgecritic.derived.tokenizer import end_settings, tokenizer_json
from edgecritic.errors import ArtifactError
from edgecritic.gguf_header import read_header
from edgecritic.graphs.decoder import DECODER, EMBED_TOKENS, write_decoder, write_embed_tokens
from edgecritic.graphs.precision import DecoderPrecision
from edgecritic.graphs.tower import VISION_ENCODER, write_tower
from edgecritic.locking import exclusive
from edgecritic.manifest import FORMATS, BundleFile, Derivation, Role
from edgecritic.progress import Tell
from edgecritic.staging import write_text
from edgecritic.vision.native import NativeGeometry

RECIPE: Final = "onnx-q8-3"
"""To be changed with anything that changes what is written."""

SMALL: Final = 256 * 2**20
"""Bytes of a language model up to which a form of eight bits takes little more memory."""

_SIZE_FACTOR: Final = 4
"""Disk that is asked for, over the GGUF files' size: four bits become eight, and more."""
_LOCK: Final = ".lock"

logger = logging.getLogger(__name__)


def has_onnx_form(bundle: Bundle) -> bool:
    """Whether an ONNX form of this bundle can be made, as far as its manifest says."""
    manifest = bundle.manifest
    return "gguf" in manifest.formats and not isinstance(manifest.image, NativeGeometry)


def onnx_form_pays(bundle: Bundle) -> bool:
    """Whether the form is quicker on a CPU than llama.cpp is with the bundle as it is.

    So it was for a small language model with adapters (docs/experiments.md): llama.cpp computes
    them apart in every product, and the form has them merged. Nothing else was measured.
    """
    models = bundle.manifest.having("language_model")
    is_small = sum(file.size for file in models) <= SMALL
    return has_onnx_form(bundle) and is_small and bool(bundle.manifest.having("adapter"))


def onnx_form(
    bundle: Bundle, *, progress: Tell | None = None, cache_dir: Path | None = None
) -> Bundle:
    """The ONNX form of a GGUF bundle, made if it is not there or not whole.

    It says all that the bundle says, and lists files of its own, which are checked as always. Of
    several processes that want it, one makes it and the others wait.

    Args:
        bundle: see `has_onnx_form`.
        progress: is told what goes on, one line each time.
        cache_dir: the cache folder; `cache_home` when left out.

    Raises:
        ArtifactError: a file of the bundle is missing or damaged, holds what cannot be converted,
            or the form cannot be stored.
    """
    tell = progress or logger.info
    sources = tuple(file for file in bundle.manifest.files if file.role in _GGUF_ROLES)
    derivation = Derivation(RECIPE, tuple(file.sha256 for file in sources))
    key = hashlib.sha256(" ".join(derivation.files).encode()).hexdigest()[:16]
    home = (cache_dir or cache_home()) / "derived" / key
    if found := _whole(bundle, home / RECIPE, derivation):
        return found
    try:
        home.mkdir(parents=True, exist_ok=True)
        waiting = f"another process makes the ONNX form of {bundle.name}: waiting for it"
        with exclusive(home / _LOCK, lambda: tell(waiting)):
            # Whoever held the lock may have made it.
            if found := _whole(bundle, home / RECIPE, derivation):
                return found
            _remove_others(home)
            _check_space(home, sources)
            return _Making(bundle, home / RECIPE, derivation, tell).run()
    except OSError as error:
        raise ArtifactError(
            f"the ONNX form of {bundle.name} cannot be stored: {error}",
            "free some space, or name another cache folder in EDGECRITIC_HOME",
        ) from error


_GGUF_ROLES: Final = (*FORMATS["gguf"].roles, "image_newline")


def _whole(bundle: Bundle, folder: Path, derivation: Derivation) -> Bundle | None:
    """The form if it is there and whole, with what the bundle says today."""
    try:
        found = Bundle.read(folder)
        if found.manifest.derived_from != derivation:
            return None
        for file in found.manifest.files:
            found.verified(file)
    except ArtifactError:
        return None
    said = replace(
        bundle.manifest,
        files=found.manifest.files,
        derived_from=derivation,
        n_ctx=min(bundle.manifest.n_ctx, found.manifest.n_ctx),
    )
    return Bundle(folder, said)


def _remove_others(home: Path) -> None:
    """Drop what older recipes made, and what an interrupted run left."""
    for folder in home.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)


def _check_space(home: Path, sources: tuple[BundleFile, ...]) -> None:
    needed, free = _SIZE_FACTOR * sum(file.size for file in sources), shutil.disk_usage(home).free
    if free < needed:
        raise OSError(f"it may take {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free")


class _Making:
    """One form in the making.

    Args:
        bundle: the original.
        folder: does not exist.
        derivation: of the form.
        tell: is told what goes on.
    """

    def __init__(self, bundle: Bundle, folder: Path, derivation: Derivation, tell: Tell) -> None:
        self._bundle = bundle
        self._folder = folder
        self._derivation = derivation
        self._tell = tell
        self._listed: list[tuple[Role, Path, str]] = []
        self._n_ctx = bundle.manifest.n_ctx

    def run(self) -> Bundle:
        """Write everything, the manifest last."""
        self._tell(f"making the ONNX form of {self._bundle.name}, once on this machine")
        (self._folder / "onnx").mkdir(parents=True)
        try:
            self._write_language_model()
            if self._bundle.manifest.image is not None:
                self._write_tower()
            return self._write_bundle()
        except BaseException:
            with suppress(OSError):
                shutil.rmtree(self._folder)
            raise

    def _write_language_model(self) -> None:
        path = self._bundle.file("language_model")
        weights = GgufLanguageModel(path, self._bundle.files("adapter"))
        # llama.cpp goes on beyond what a model was made for; the tables of angles end there.
        self._n_ctx = min(self._n_ctx, weights.text.n_ctx)
        self._tell(f"dequantising {path.name}, merging adapters, quantizing to eight bits")
        target = self._graph(f"{DECODER}_quantized")
        precision = DecoderPrecision.uniform("int8", weights.text.n_layers)
        decoder, *data = write_decoder(weights, target, precision, external=True, branching=True)
        self._listed.append(("decoder", decoder, "Q8"))
        self._listed.extend(("external_data", file, "") for file in data)
        target = self._graph(f"{EMBED_TOKENS}_fp16")
        # Weights in files of their own are mapped: of this table only the rows that are read.
        written = write_embed_tokens(weights, target, "fp16", external=True)
        self._listed += self._parts("embed_tokens", written)
        header = read_header(path)
        write_text(self._folder / "tokenizer.json", tokenizer_json(header))
        write_text(self._folder / "generation_config.json", end_settings(header))
        self._listed.append(("tokenizer", self._folder / "tokenizer.json", ""))
        self._listed.append(("config", self._folder / "generation_config.json", ""))

    def _write_tower(self) -> None:
        path = self._bundle.file("mmproj")
        self._tell(f"converting {path.name}")
        check_projector(path, check_language_model(self._bundle.file("language_model")))
        header = read_header(path)
        target = self._graph(f"{VISION_ENCODER}_fp16")
        written = write_tower(
            GgufWeights(header), tower_shape(header), target, "fp16", external=True
        )
        self._listed += self._parts("vision_encoder", written)

    def _write_bundle(self) -> Bundle:
        for file in self._bundle.manifest.having("image_newline"):
            copy = self._folder / "image_newline.npy"
            shutil.copyfile(self._bundle.verified(file), copy)
            self._listed.append((file.role, copy, file.quant))
        sources = {path.relative_to(self._folder).as_posix(): path for _, path, _ in self._listed}
        files = tuple(
            describe_file(role, path, name, quant)
            for name, (role, path, quant) in zip(sources, self._listed, strict=True)
        )
        manifest = replace(
            self._bundle.manifest,
            files=files,
            derived_from=self._derivation,
            n_ctx=self._n_ctx,
        )
        made = write_bundle(self._folder, manifest, sources)
        size = sum(file.size for file in files) / 1e6
        self._tell(f"the ONNX form ({size:.0f} MB) is stored at {self._folder}")
        return made

    def _graph(self, name: str) -> Path:
        return self._folder / "onnx" / f"{name}.onnx"

    @staticmethod
    def _parts(role: Role, written: tuple[Path, ...]) -> list[tuple[Role, Path, str]]:
        model, *data = written
        return [(role, model, "F16"), *(("external_data", file, "") for file in data)]
