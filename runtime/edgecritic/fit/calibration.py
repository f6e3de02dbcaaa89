"""What an engine costs on this machine, measured once and kept in the cache folder."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

from edgecritic.backends.llamacpp.native import Package
from edgecritic.cache_folder import cache_home
from edgecritic.errors import BackendUnavailableError
from edgecritic.fit.others import Others
from edgecritic.fit.pace import LayerShape, Pace, PicturePace
from edgecritic.fit.pace_probe import llamacpp_pace, onnx_pace, picture_pace
from edgecritic.fit.parts import Probe
from edgecritic.fit.probe import probe_llamacpp, probe_onnx
from edgecritic.fit.stand_in import StandIn, write_stand_in
from edgecritic.fit.stand_in_graph import write_products, write_vocabulary
from edgecritic.graphs.precision import Precision
from edgecritic.progress import Tell

EngineName: TypeAlias = Literal["llamacpp", "inferna", "onnx"]
_LLAMA: Final[Mapping[str, Package]] = {"llamacpp": "llama-cpp-python", "inferna": "inferna"}
_PACKAGES: Final[Mapping[str, str]] = {**_LLAMA, "onnx": "onnxruntime"}
_SCHEMA: Final = 3
_BUSY: Final = 0.25


class EngineCosts:
    """Probes of one engine with so many threads; measures what is not known yet.

    Args:
        engine: its name.
        threads: of computation.
        tell: is told when something is measured.
        folder: where results are kept; the cache folder's when left out.
    """

    def __init__(
        self,
        engine: EngineName,
        threads: int,
        tell: Tell = lambda line: None,
        folder: Path | None = None,
    ) -> None:
        self._engine = engine
        self._threads = threads
        self._tell = tell
        self._path = (folder or cache_home() / "fit") / f"{engine}-{threads}.json"
        self._known: dict[str, Probe] = {}
        self._paces: dict[str, Pace] = {}
        self._rough: dict[str, Pace] = {}  # of a busy machine, and not kept
        self._pictures: PicturePace | None = None
        self._read()

    def of(self, kind: str) -> Probe:
        """What weights of a kind cost: a tensor type of GGUF, or a `Precision`.

        Raises:
            BackendUnavailableError: the engine is not installed or fails on the measurement.
        """
        if kind not in self._known:
            self._tell(f"measuring {self._engine} with {kind} weights, once on this machine")
            self._known[kind] = self._measure(kind)
            self._write()
        return self._known[kind]

    def pace(self, layer: LayerShape) -> Pace:
        """How long calls take with layers of a shape.

        Raises:
            BackendUnavailableError: as for `of`.
        """
        key = repr(layer)
        found = self._paces.get(key) or self._rough.get(key)
        if found is None:
            kinds = ", ".join(sorted(set(layer.types)))
            others = Others()
            self._tell(f"timing {self._engine} with layers of {kinds}, once on this machine")
            found = self._time(layer)
            if (share := others.share()) > _BUSY:
                self._tell(f"others used {share:.0%} of this machine: it is timed again next time")
                self._rough[key] = found
            else:
                self._paces[key] = found
                self._write()
        return found

    def pictures(self) -> PicturePace:
        """How long a picture takes until it is tiles."""
        if self._pictures is None:
            self._pictures = self._time_pictures()
            self._write()
        return self._pictures

    def _measure(self, kind: str) -> Probe:
        with self._apart(f"{kind} weights") as (pool, folder):
            if self._engine != "onnx":
                path, shape = folder / "stand-in.gguf", StandIn(kind)
                write_stand_in(path, shape)
                package = _LLAMA[self._engine]
                return pool.submit(probe_llamacpp, path, shape, self._threads, package).result()
            path, small, words = (folder / name for name in ("a.onnx", "b.onnx", "words.json"))
            write_products(path, cast(Precision, kind))
            write_products(small, "int4")
            n_words = write_vocabulary(words)
            return pool.submit(probe_onnx, path, words, n_words, small, self._threads).result()

    def _time(self, layer: LayerShape) -> Pace:
        with self._apart(f"layers of {layer.types[0]}") as (pool, folder):
            if self._engine == "onnx":
                return pool.submit(onnx_pace, folder, layer, self._threads).result()
            package = _LLAMA[self._engine]
            return pool.submit(llamacpp_pace, folder, layer, self._threads, package).result()

    def _time_pictures(self) -> PicturePace:
        with self._apart("pictures") as (pool, folder):
            return pool.submit(picture_pace, folder).result()

    @contextmanager
    def _apart(self, what: str) -> Iterator[tuple[ProcessPoolExecutor, Path]]:
        """A process of its own, and a folder for its files."""
        with (
            tempfile.TemporaryDirectory() as made,
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        ):
            try:
                yield pool, Path(made)
            except BrokenProcessPool as error:
                raise BackendUnavailableError(
                    f"{self._engine} ended while it was measured with {what}",
                    "free some memory; edgecritic verdicts do not need this measurement",
                ) from error

    def _key(self) -> dict[str, object]:
        """What makes older measurements worthless."""
        return {
            "schema": _SCHEMA,
            "engine": _version(_PACKAGES[self._engine]),
            "machine": f"{platform.node()} {platform.machine()} {os.cpu_count()}",
            "python": platform.python_version(),
        }

    def _read(self) -> None:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            if kept["key"] != self._key():
                return
            probes = {kind: Probe(**probe) for kind, probe in kept["probes"].items()}
            paces = {layer: _pace(pace) for layer, pace in kept["paces"].items()}
            pictures = kept["pictures"] and PicturePace(**kept["pictures"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # none yet, or of another version: measured anew
        self._known, self._paces, self._pictures = probes, paces, pictures

    def _write(self) -> None:
        probes = {kind: asdict(probe) for kind, probe in self._known.items()}
        paces = {layer: asdict(pace) for layer, pace in self._paces.items()}
        pictures = self._pictures and asdict(self._pictures)
        known = {"key": self._key(), "probes": probes, "paces": paces, "pictures": pictures}
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(known, indent=2))
            partial.replace(self._path)
        except OSError as error:  # what was measured is known all the same
            self._tell(f"measurements cannot be kept for the next time: {error}")


def _pace(kept: dict[str, Any]) -> Pace:
    return Pace(tuple(kept["layer"]), tuple(kept["besides"]), kept["attention"])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # built into a program, or not there: then measuring says so
        return ""
