"""ONNX Runtime, loaded once, and its sessions: quiet, without telemetry, and stoppable."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from types import ModuleType
from typing import Any, Final

from edgecritic.backends.base import Cancelled, CancelToken
from edgecritic.backends.options import Device
from edgecritic.errors import ArtifactError, BackendUnavailableError, MissingExtraError
from edgecritic.heap import trim

logger = logging.getLogger("edgecritic.engine")

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
CUDA_OPTIONS: Final = {
    # Memory grows by what is needed, not to the next power of two: others use the GPU, too.
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",  # trying them all takes longer than all convolutions
}
_NOTHING: Final = 4  # ORT_LOGGING_LEVEL_FATAL: errors are raised, too
_ASK_EVERY: Final = 0.02  # seconds between two looks at a CancelToken during a run


def load_runtime() -> ModuleType:
    """The onnxruntime package.

    Raises:
        MissingExtraError: it is not installed.
        BackendUnavailableError: it is installed, but its library does not load.
    """
    # Since 1.29 the official builds keep a device id and a database in the user's home folder
    # and send usage data, unless this is set before the import.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        return import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the ONNX Runtime engine is not installed",
            "pip install 'edgecritic[onnx]', or onnxruntime-gpu for CUDA",
        ) from error
    except ImportError as error:  # a library that does not load on this system
        raise BackendUnavailableError(
            f"ONNX Runtime's library does not load: {error}",
            "pip install --force-reinstall onnxruntime",
        ) from error


def choose_provider(onnxruntime: ModuleType, device: Device) -> str:
    """The execution provider for a device.

    Raises:
        BackendUnavailableError: a GPU is asked for, and this build has no CUDA.
    """
    if CUDA in onnxruntime.get_available_providers() and device != "cpu":
        return CUDA
    if device == "gpu":
        raise BackendUnavailableError(
            "this ONNX Runtime is built without CUDA",
            "pip uninstall onnxruntime, then pip install onnxruntime-gpu; or use device='cpu'",
        )
    return CPU


class Session:
    """One open model.

    Args:
        onnxruntime: the package.
        path: the model; its header was checked.
        provider: `CPU`, or `CUDA` with the CPU for what it does not do.
        n_threads: of computation.

    Raises:
        ArtifactError: ONNX Runtime does not accept the model.
    """

    def __init__(
        self, onnxruntime: ModuleType, path: Path, *, provider: str, n_threads: int
    ) -> None:
        self._path = path
        self._run_options = onnxruntime.RunOptions
        self._errors = _errors()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.inter_op_num_threads = 1
        # Waiting threads that spin take the cores from whatever else the machine does.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _NOTHING
        providers = [CPU] if provider == CPU else [(provider, CUDA_OPTIONS), CPU]
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=providers
            )
        except self._errors as error:
            raise ArtifactError(
                f"ONNX Runtime does not open {path}: {_first_line(error)}",
                "the file is damaged or too new for this engine: fetch or export it again",
            ) from error
        trim()  # what opening it took: a fifth of a model that holds its weights itself

    @property
    def provider(self) -> str:
        """What it runs on; the CPU where the GPU's libraries did not load."""
        return str(self._session.get_providers()[0])

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return [output.name for output in self._session.get_outputs()]

    def binding(self) -> Any:
        """A new IOBinding."""
        return self._session.io_binding()

    def run(self, feeds: dict[str, Any]) -> Any:
        """The first output.

        Raises:
            BackendUnavailableError: the run failed.
        """
        try:
            return self._session.run(self.outputs[:1], feeds, self._options())[0]
        except self._errors as error:
            raise self._failed(error) from error

    def run_bound(self, binding: Any, cancel: CancelToken | None) -> None:
        """Run on bound inputs and outputs.

        Raises:
            Cancelled: `cancel` was set during the run; what it wrote is worth nothing.
            BackendUnavailableError: the run failed.
        """
        options = self._options()
        try:
            with _stopped_by(cancel, options):
                binding.synchronize_inputs()
                self._session.run_with_iobinding(binding, options)
                binding.synchronize_outputs()
        except self._errors as error:
            if options.terminate:
                raise Cancelled from error
            raise self._failed(error) from error

    def _options(self) -> Any:
        options = self._run_options()
        options.log_severity_level = _NOTHING
        return options

    def _failed(self, error: Exception) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"{self._path}: ONNX Runtime failed: {_first_line(error)}",
            "load the critic again; on a GPU, free some of its memory",
        )


@contextmanager
def _stopped_by(cancel: CancelToken | None, options: Any) -> Iterator[None]:
    """Let a token end a run: ONNX Runtime looks at ``terminate`` between two operators."""
    if cancel is None:
        yield
        return
    ended = Event()

    def watch() -> None:
        while not ended.wait(_ASK_EVERY):
            if cancel.cancelled:
                options.terminate = True
                return

    watcher = Thread(target=watch, name="edgecritic-cancel", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _errors() -> tuple[type[Exception], ...]:
    """Everything that ONNX Runtime raises; its exceptions have no base of their own."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found = (value for value in vars(state).values() if isinstance(value, type))
    own = tuple(value for value in found if issubclass(value, Exception))
    return (*own, RuntimeError, ValueError, TypeError)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
