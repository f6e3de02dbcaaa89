"""What an engine costs on this machine, measured once and kept in the cache folder."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from edgecritic.backends.llamacpp.native import Package
from edgecritic.errors import BackendUnavailableError
from edgecritic.fit.parts import Probe
from edgecritic.fit.probe import probe_llamacpp, probe_onnx
from edgecritic.fit.stand_in import StandIn, write_stand_in
from edgecritic.fit.stand_in_graph import write_products, write_vocabulary
from edgecritic.graphs.precision import Precision
from edgecritic.models import Progress, cache_home

EngineName: TypeAlias = Literal["llamacpp", "inferna", "onnx"]
_LLAMA: Final[Mapping[str, Package]] = {"llamacpp": "llama-cpp-python", "inferna": "inferna"}
_PACKAGES: Final[Mapping[str, str]] = {**_LLAMA, "onnx": "onnxruntime"}
_SCHEMA: Final = 1


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
        tell: Progress = lambda line: None,
        folder: Path | None = None,
    ) -> None:
        self._engine = engine
        self._threads = threads
        self._tell = tell
        self._path = (folder or cache_home() / "fit") / f"{engine}-{threads}.json"
        self._known = self._read()

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

    def _measure(self, kind: str) -> Probe:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                try:
                    return (
                        self._onnx(pool, folder, kind)
                        if self._engine == "onnx"
                        else self._llamacpp(pool, folder, kind)
                    )
                except BrokenProcessPool as error:
                    raise BackendUnavailableError(
                        f"{self._engine} ended while it was measured with {kind} weights",
                        "free some memory; edgecritic verdicts do not need this measurement",
                    ) from error

    def _llamacpp(self, pool: ProcessPoolExecutor, folder: Path, kind: str) -> Probe:
        path, shape = folder / "stand-in.gguf", StandIn(kind)
        write_stand_in(path, shape)
        return pool.submit(
            probe_llamacpp, path, shape, self._threads, _LLAMA[self._engine]
        ).result()

    def _onnx(self, pool: ProcessPoolExecutor, folder: Path, kind: str) -> Probe:
        path, small, words = (folder / name for name in ("a.onnx", "b.onnx", "words.json"))
        write_products(path, cast(Precision, kind))
        write_products(small, "int4")
        n_words = write_vocabulary(words)
        return pool.submit(probe_onnx, path, words, n_words, small, self._threads).result()

    def _key(self) -> dict[str, object]:
        """What makes older measurements worthless."""
        return {
            "schema": _SCHEMA,
            "engine": _version(_PACKAGES[self._engine]),
            "machine": f"{platform.node()} {platform.machine()} {os.cpu_count()}",
            "python": platform.python_version(),
        }

    def _read(self) -> dict[str, Probe]:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            if kept["key"] == self._key():
                return {kind: Probe(**probe) for kind, probe in kept["probes"].items()}
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none yet, or of another version: measured anew
        return {}

    def _write(self) -> None:
        probes = {kind: asdict(probe) for kind, probe in self._known.items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        partial.write_text(json.dumps({"key": self._key(), "probes": probes}, indent=2))
        partial.replace(self._path)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # built into a program, or not there: then measuring says so
        return ""
