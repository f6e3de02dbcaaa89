"""Decoders as transformers and as ONNX Runtime run them, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from edgecritic.manifest import Calibration, DialectRef, Manifest
from edgecritic.prompts import load_dialect
from edgecritic.task import Rubric
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.ort import open_session

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass
class Reference:
    """A checkpoint as the exporters read it, and as transformers runs it."""

    checkpoint: Checkpoint
    model: LlavaOnevisionForConditionalGeneration

    @property
    def n_embd(self) -> int:
        return self.checkpoint.text.n_embd

    def embeddings(self, tokens: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.model.get_input_embeddings()(torch.from_numpy(tokens)).numpy()

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        """(batch, sequence, n_vocab) of a batch without padding."""
        with torch.no_grad():
            return self.model(inputs_embeds=torch.from_numpy(embeddings)).logits.numpy()


@dataclass
class Exported:
    """A written decoder."""

    path: Path

    def __post_init__(self) -> None:
        self.session = open_session(self.path, n_threads=1)
        self.inputs = {entry.name: entry for entry in self.session.get_inputs()}
        self.outputs = [entry.name for entry in self.session.get_outputs()]

    def empty(self, batch: int) -> dict[str, np.ndarray]:
        return {
            name: np.zeros((batch, entry.shape[1], 0, entry.shape[3]), dtype=TYPES[entry.type])
            for name, entry in self.inputs.items()
            if name.startswith("past_key_values.")
        }

    def run(
        self,
        embeddings: np.ndarray,
        past: dict[str, np.ndarray] | None = None,
        *,
        mask: np.ndarray | None = None,
        keep: int = 0,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits, and the cache as the next call takes it."""
        batch, n_new, _ = embeddings.shape
        past = past or self.empty(batch)
        n_past = next(iter(past.values())).shape[2]
        feeds: dict[str, Any] = {
            "inputs_embeds": embeddings.astype(np.float32),
            "attention_mask": np.ones((batch, n_past + n_new), np.int64) if mask is None else mask,
            "num_logits_to_keep": np.array(keep, dtype=np.int64),
            **past,
        }
        logits, *present = self.session.run(None, feeds)
        cache = dict(zip(past, present, strict=True))
        return logits, cache


def shortened(cache: dict[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(tensor[:, :, :length]) for name, tensor in cache.items()}


def described() -> Manifest:
    """What a bundle says about a critic; the exporter fills in its files."""
    dialect = load_dialect()
    return Manifest(
        name="tiny",
        version="1",
        family="llava_onevision",
        files=(),
        base_model="random",
        dialect=DialectRef(dialect.name, dialect.digest),
        rubric=Rubric(),
        n_ctx=1024,
        image=None,
        calibration=Calibration(),
        licence="Apache-2.0",
        training=None,
        verification=None,
        good_for=(),
        bad_for=(),
        created="2026-01-01",
    )
