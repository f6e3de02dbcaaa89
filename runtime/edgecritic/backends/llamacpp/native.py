"""llama.cpp's libraries, loaded once, with their logging under Python's.

What the engine calls are functions of llama.h and mtmd.h. llama-cpp-python's low-level modules
mirror them one to one; its chat handlers and its `Llama` class are not used: they clear the KV
cache and encode images again on every call. `edgecritic.backends.llamacpp.inferna` gives the same
functions over the package inferna.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, TypeAlias

from edgecritic.errors import BackendUnavailableError, MissingExtraError
from edgecritic.openmp import brief_waits

logger = logging.getLogger("edgecritic.engine")

_REMEMBERED_LINES: Final = 8
_CONTINUED: Final = 5  # GGML_LOG_LEVEL_CONT
_WARN, _ERROR = 3, 4  # GGML_LOG_LEVEL_WARN, GGML_LOG_LEVEL_ERROR
FLASH_ATTENTION: Final = {None: -1, False: 0, True: 1}  # LLAMA_FLASH_ATTN_TYPE_*
_GPU, _INTEGRATED_GPU = 1, 2  # GGML_BACKEND_DEVICE_TYPE_GPU, GGML_BACKEND_DEVICE_TYPE_IGPU


@dataclass(frozen=True, slots=True)
class Native:
    """The loaded library.

    Attributes:
        llama: functions of llama.h.
        mtmd: functions of mtmd.h.
        engine: name and version for reports.
        log: what it said last.
        one_picture: a bitmap as ``mtmd_tokenize_from_parts`` takes it.
        gpu_name: the description of the first GPU that ggml knows, or ``"gpu"``.
        free_gpu_memory: bytes that are free on each GPU; None where the package does not tell.
    """

    llama: Any
    mtmd: Any
    engine: str
    log: EngineLog
    one_picture: Callable[[Any], Any]
    gpu_name: Callable[[], str]
    free_gpu_memory: Callable[[], list[int] | None]


class EngineLog:
    """Sends the engine's lines to `logging` and remembers its last complaints."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line = ""
        self._level = 0
        self._complaints: deque[str] = deque(maxlen=_REMEMBERED_LINES)

    def write(self, level: int, text: bytes | None, _user_data: object = None) -> None:
        """Take a piece of the engine's output; a line may come in several pieces.

        On a GPU there is one for every token, so what nobody would see is dropped at once.
        """
        with self._lock:
            if level != _CONTINUED:
                self._level = level
            if self._level not in (_WARN, _ERROR) and not logger.isEnabledFor(logging.DEBUG):
                self._line = ""
                return
            self._line += (text or b"").decode("utf-8", errors="replace")
            *lines, self._line = self._line.split("\n")
            for line in filter(None, map(str.strip, lines)):
                logger.debug("%s", line)
                if self._level in (_WARN, _ERROR):
                    self._complaints.append(line)

    def forget(self) -> None:
        """Drop the remembered complaints, before a call that may add its own."""
        with self._lock:
            self._complaints.clear()

    def complaint(self) -> str:
        """The engine's latest warnings and errors on one line, newest last."""
        with self._lock:
            return "; ".join(self._complaints) or "the engine gave no reason"


Package: TypeAlias = Literal["llama-cpp-python", "inferna"]
"""Who brings llama.cpp."""

_lock: Final = threading.Lock()
_loaded: Final[dict[Package, Native]] = {}
_callbacks: Final[list[Any]] = []  # kept for the life of the process: the libraries call them


def load_native(package: Package = "llama-cpp-python") -> Native:
    """A package's library; loaded and silenced on the first call.

    Raises:
        MissingExtraError: the package is not installed.
        BackendUnavailableError: it is installed, but its libraries do not load.
    """
    with _lock:
        if package not in _loaded:
            with brief_waits():
                _loaded[package] = _silenced(package)
        return _loaded[package]


def _silenced(package: Package) -> Native:
    llama, mtmd, version = (_import_inferna if package == "inferna" else _import)()
    log = EngineLog()
    callback = llama.llama_log_callback(log.write)
    _callbacks.append(callback)
    no_data = ctypes.c_void_p(0)
    llama.llama_log_set(callback, no_data)
    mtmd.mtmd_log_set(callback, no_data)
    llama.llama_backend_init()
    engine = f"llama.cpp {llama.llama_version().decode('ascii')} ({package} {version})"
    if package == "inferna":
        return Native(llama, mtmd, engine, log, mtmd.one_picture, llama.gpu_name, lambda: None)
    devices = _Devices(llama)
    one_picture = partial(_one_picture, mtmd)
    return Native(llama, mtmd, engine, log, one_picture, devices.name, devices.free_memory)


def _import_inferna() -> tuple[Any, Any, str]:
    from edgecritic.backends.llamacpp import inferna

    try:
        return inferna.load()
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "inferna, a prebuilt llama.cpp, is not installed",
            "pip install 'edgecritic[inferna]', on Python 3.12 or newer",
        ) from error
    except (ImportError, OSError) as error:
        raise BackendUnavailableError(
            f"inferna's llama.cpp does not load: {error}",
            "pip install --force-reinstall inferna, or take 'edgecritic[llama]'",
        ) from error


def _import() -> tuple[Any, Any, str]:
    try:
        import llama_cpp
        from llama_cpp import llama_cpp as llama
        from llama_cpp import mtmd_cpp as mtmd
    except ImportError as error:
        compiler = " (it is compiled: a C++ compiler is needed)" if sys.platform == "linux" else ""
        raise MissingExtraError(
            "the llama.cpp engine is not installed",
            f"pip install 'edgecritic[llama]'{compiler}, or 'edgecritic[onnx]', which is prebuilt",
        ) from error
    except (OSError, RuntimeError) as error:  # a library that does not load on this system
        raise BackendUnavailableError(
            f"llama.cpp's libraries do not load: {error}",
            "pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python "
            "'edgecritic[llama]'",
        ) from error
    return llama, mtmd, str(llama_cpp.__version__)


def _one_picture(mtmd: ModuleType, bitmap: int) -> Any:
    part: Any = mtmd.mtmd_input_part(text=None, bitmap=bitmap)
    return (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))


class _Devices:
    """What ggml knows of this machine's GPUs, integrated ones only where there are no others."""

    def __init__(self, llama: ModuleType) -> None:
        self._llama = llama

    def name(self) -> str:
        """See `Native.gpu_name`."""
        registry, base = self._libraries()
        for device in self._gpus(registry, base)[:1]:
            description: bytes = base.ggml_backend_dev_description(device)
            return description.decode("utf-8", errors="replace")
        return "gpu"

    def free_memory(self) -> list[int]:
        """See `Native.free_gpu_memory`."""
        registry, base = self._libraries()
        found = []
        for device in self._gpus(registry, base):
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            base.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
            found.append(free.value)
        return found

    def _libraries(self) -> tuple[Any, Any]:
        from llama_cpp._ctypes_extensions import load_shared_library

        folder = Path(str(self._llama.__file__)).parent / "lib"
        registry = load_shared_library("ggml", folder)
        base = load_shared_library("ggml-base", folder)
        registry.ggml_backend_dev_count.restype = ctypes.c_size_t
        registry.ggml_backend_dev_get.restype = ctypes.c_void_p
        base.ggml_backend_dev_description.restype = ctypes.c_char_p
        return registry, base

    @staticmethod
    def _gpus(registry: Any, base: Any) -> list[ctypes.c_void_p]:
        by_kind: dict[int, list[ctypes.c_void_p]] = {}
        for index in range(registry.ggml_backend_dev_count()):
            device = ctypes.c_void_p(registry.ggml_backend_dev_get(ctypes.c_size_t(index)))
            by_kind.setdefault(base.ggml_backend_dev_type(device), []).append(device)
        return by_kind.get(_GPU) or by_kind.get(_INTEGRATED_GPU) or []
