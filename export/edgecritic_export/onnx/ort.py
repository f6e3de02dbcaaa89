"""ONNX Runtime for measuring what was exported; it is imported so that it reports to nobody."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgecritic.errors import MissingExtraError

FloatArray: TypeAlias = NDArray[np.float32]

_TELEMETRY_OFF: Final = "ORT_DISABLE_TELEMETRY"


def quiet_environment() -> None:
    """Switch telemetry off; to be called before the first import of onnxruntime.

    From 1.29 on its wheels write a device id and a database to the home folder on import.
    """
    os.environ[_TELEMETRY_OFF] = "1"


def onnxruntime() -> ModuleType:
    """The onnxruntime package.

    Raises:
        MissingExtraError: it is not installed.
    """
    quiet_environment()
    try:
        import onnxruntime as imported
    except ImportError as error:
        raise MissingExtraError(
            "measuring ONNX files needs onnxruntime", "pip install 'edgecritic[onnx]'"
        ) from error
    module: ModuleType = imported
    return module


def open_session(model: Path, *, n_threads: int | None = None) -> Any:
    """An onnxruntime.InferenceSession on the CPU.

    Args:
        model: the ``.onnx`` file.
        n_threads: of computation; onnxruntime's own choice when left out.
    """
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if n_threads is not None:
        options.intra_op_num_threads = n_threads
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class DecoderSession:
    """An exported decoder that reads one sequence at a time from its beginning.

    Args:
        model: as `write_decoder` wrote it.
        n_threads: of computation.
    """

    def __init__(self, model: Path, *, n_threads: int | None = None) -> None:
        self._session = open_session(model, n_threads=n_threads)
        self._empty = {
            entry.name: np.zeros((1, entry.shape[1], 0, entry.shape[3]), dtype=np.float32)
            for entry in self._session.get_inputs()
            if entry.name.startswith("past_key_values.")
        }

    def run(
        self, outputs: Sequence[str], embeddings: FloatArray, n_logits: int = 1
    ) -> list[FloatArray]:
        """Some outputs of one prefill.

        Args:
            outputs: their names.
            embeddings: (n_tokens, n_embd) float32.
            n_logits: last positions to compute logits of.
        """
        feeds = {
            "inputs_embeds": embeddings[None],
            "attention_mask": np.ones((1, len(embeddings)), dtype=np.int64),
            "num_logits_to_keep": np.array(n_logits, dtype=np.int64),
            **self._empty,
        }
        found: list[FloatArray] = self._session.run(list(outputs), feeds)
        return found

    def logits(self, embeddings: FloatArray, positions: Sequence[int]) -> FloatArray:
        """Logits behind some positions.

        Args:
            embeddings: (n_tokens, n_embd) float32.
            positions: ascending.

        Returns:
            (len(positions), n_vocab) float32.
        """
        first = positions[0]
        (found,) = self.run(["logits"], embeddings, len(embeddings) - first)
        return np.asarray(found[0, [position - first for position in positions]])
