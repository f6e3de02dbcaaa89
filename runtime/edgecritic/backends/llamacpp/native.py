"""llama.cpp's libraries, loaded once, with their logging under Python's.

llama-cpp-python's low-level modules mirror llama.h and mtmd.h one to one. Its chat handlers and
its `Llama` class are not used: they clear the KV cache and encode images again on every call.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from edgecritic.errors import BackendUnavailableError, MissingExtraError

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
        llama: ctypes functions of llama.h.
        mtmd: ctypes functions of mtmd.h.
        engine: name and version for reports.
        log: what it said last.
    """

    llama: ModuleType
    mtmd: ModuleType
    engine: str
    log: EngineLog


class EngineLog:
    """Sends the engine's lines to `logging` and remembers its last complaints."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line = ""
        self._level = 0
        self._complaints: deque[str] = deque(maxlen=_REMEMBERED_LINES)

    def write(self, level: int, text: bytes | None, _user_data: object = None) -> None:
        """Take a piece of the engine's output; a line may come in several pieces."""
        with self._lock:
            if level != _CONTINUED:
                self._level = level
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


_lock: Final = threading.Lock()
_loaded: Native | None = None
_callback: Any = None  # kept for the life of the process: the library calls it from C


def load_native() -> Native:
    """The library; loaded and silenced on the first call.

    Raises:
        MissingExtraError: llama-cpp-python is not installed.
        BackendUnavailableError: it is installed, but its libraries do not load.
    """
    global _loaded, _callback  # noqa: PLW0603 - one library, one log sink a process
    with _lock:
        if _loaded is not None:
            return _loaded
        llama, mtmd, package_version = _import()
        log = EngineLog()
        _callback = llama.llama_log_callback(log.write)
        no_data = ctypes.c_void_p(0)
        llama.llama_log_set(_callback, no_data)
        mtmd.mtmd_log_set(_callback, no_data)
        llama.llama_backend_init()
        version = llama.llama_version().decode("ascii")
        engine = f"llama.cpp {version} (llama-cpp-python {package_version})"
        _loaded = Native(llama, mtmd, engine, log)
        return _loaded


def _import() -> tuple[ModuleType, ModuleType, str]:
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


def gpu_name(native: Native) -> str:
    """The description of the first GPU that ggml knows, or ``"gpu"``."""
    from llama_cpp._ctypes_extensions import load_shared_library

    folder = Path(str(native.llama.__file__)).parent / "lib"
    registry = load_shared_library("ggml", folder)
    base = load_shared_library("ggml-base", folder)
    registry.ggml_backend_dev_by_type.restype = ctypes.c_void_p
    base.ggml_backend_dev_description.restype = ctypes.c_char_p
    for kind in (_GPU, _INTEGRATED_GPU):
        device = registry.ggml_backend_dev_by_type(kind)
        if device:
            description: bytes = base.ggml_backend_dev_description(ctypes.c_void_p(device))
            return description.decode("utf-8", errors="replace")
    return "gpu"
