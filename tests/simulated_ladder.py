"""A finished run of bench quantization with simulated arms: what a reference says, and noise."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.quantization.arms import Arm
from edgecritic_bench.quantization.journal import Judged, append, row_digest
from edgecritic_bench.quantization.rows import Sample, prepare_rows
from edgecritic_bench.quantization.run import Run, RunOptions
from edgecritic_bench.quantization.worker import ArmFiles

CATEGORIES = ("digit", "count", "colour", "word", "chart", "object")
MODELS = ("correct", "hedged", "wrong value", "off topic")
GOLDS = {"correct": 10, "hedged": 8, "wrong value": 3, "off topic": 1}
SIGNAL, BLUR = 2.4, 1.6


@dataclass(frozen=True)
class Rung:
    """A simulated arm: nats of noise in leads, levels of noise in scores, what it weighs."""

    name: str
    backend: str
    noise: float
    megabytes: float
    quant: str
    cpu: float
    base: str = ""
    rounding: str = ""

    def arm(self) -> Arm:
        roles = {"reference": "reference", "re-run": "rerun"}
        full = self.quant in ("F16", "F32", "")
        role = roles.get(self.name, "runtime" if full else "quantized")
        return Arm(
            name=self.name,
            role=role,
            folder="none",
            backend=self.backend,
            language_model=self.quant,
            tower="F16",
            rounding=self.rounding,
            n_bytes=int(self.megabytes * 1e6),
            base=self.base,
            files=self.name,
            tower_sha256="",
            token_kl=None if full else self.noise / 20,
        )


LADDER = (
    Rung("reference", "hf", 0.0, 595, "", 0.42),
    Rung("re-run", "hf", 0.002, 595, "", 0.43),
    Rung("gguf F16", "llamacpp", 0.05, 300, "F16", 0.21),
    Rung("gguf Q8_0", "llamacpp", 0.12, 174, "Q8_0", 0.2, "gguf F16"),
    Rung("gguf Q4_K_M", "llamacpp", 0.35, 134, "Q4_K_M", 0.22, "gguf F16"),
    Rung("gguf Q2_K", "llamacpp", 1.6, 117, "Q2_K", 0.17, "gguf F16"),
    Rung("onnx fp32", "onnx", 0.01, 714, "F32", 0.2),
    Rung("onnx q4", "onnx", 0.6, 215, "Q4", 0.16, "onnx fp32"),
    Rung("gguf Q2_K imatrix", "llamacpp", 0.4, 117, "Q2_K", 0.17, "gguf F16", "judgements"),
)


def simulated_run(
    folder: Path, n_items: int = 60, ladder: tuple[Rung, ...] = LADDER, attacks: int = 3
) -> Run:
    """A folder with everything that a finished run leaves."""
    data = write_rows(folder / "drawn", n_items)
    sample = Sample((str(data),), attacks=attacks)
    rows = prepare_rows(sample, folder)
    arms = tuple(rung.arm() for rung in ladder)
    (folder / "arms").mkdir(parents=True, exist_ok=True)
    for rung, arm in zip(ladder, arms, strict=True):
        files = ArmFiles.of(folder, arm)
        append(files.journal, [judged(row, rung) for row in rows.all])
        made_by = {"files": arm.files, "backend": arm.backend, "role": arm.role}
        meta = {"made_by": made_by, "engine": rung.backend, "device": "cpu", "load_seconds": 1.5}
        meta["peak_bytes"] = int(rung.megabytes * 2.1e6)
        files.meta.write_text(json.dumps(meta))
    return Run(folder, arms, sample, rows, RunOptions())


def write_rows(folder: Path, n_items: int) -> Path:
    """A rows file with pictures: of each item three pairs and four scores."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for n in range(n_items):
        colour = tuple(np.random.default_rng(n).integers(40, 230, 3).tolist())
        picture = Image.new("RGB", (120, 90), "white")
        ImageDraw.Draw(picture).ellipse((20, 10, 100, 80), fill=colour)
        picture.save(folder / f"{n}.png")
        common = {
            "images": [f"{n}.png"],
            "question": f"What is shown in picture {n}?",
            "group": f"item-{n}",
            "category": CATEGORIES[n % len(CATEGORIES)],
        }
        texts = {model: f"A {model} answer to {n}." for model in MODELS}
        for k, (first, second) in enumerate(
            (("correct", "wrong value"), ("off topic", "hedged"), ("correct", "off topic"))
        ):
            gap = GOLDS[first] - GOLDS[second]
            verdict = "first" if gap > 0 else "second"
            pair = {"setting": "pairwise", "responses": [texts[first], texts[second]]}
            lines.append({"id": f"{n}-p{k}", **common, **pair, "verdict": verdict})
        for model, text in texts.items():
            score = {"setting": "pointwise", "responses": [text], "verdict": GOLDS[model]}
            lines.append({"id": f"{n}-{model}", **common, **score, "models": [model]})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def judged(row: PairRow | ScoreRow, rung: Rung) -> Judged:
    """What an arm says: the same latent verdict for all, and noise of its own."""
    digest = row_digest(row)
    latent = np.random.default_rng(random.Random(digest).getrandbits(63))
    own = np.random.default_rng(random.Random(digest + rung.name).getrandbits(63))
    cost: Mapping[str, float] = {
        "seconds": rung.cpu * 0.6,
        "cpu": rung.cpu * float(np.exp(own.normal(0, 0.1))),
    }
    if isinstance(row, PairRow):
        way = {"first": 1, "second": -1, "tie": 0}[row.gold]
        lead = SIGNAL * way + BLUR * latent.normal() + rung.noise * own.normal()
        orders = []
        for bias in (0.2, -0.2):
            raw = np.array([(lead + bias) / 2, -(lead + bias) / 2, -0.6])
            orders.append(tuple((raw - np.logaddexp.reduce(raw)).tolist()))
        return Judged(digest, row.key, "pairwise", tuple(orders), (0.99, 0.98), **cost)
    centre = row.gold + 1.1 * latent.normal() + 0.4 * rung.noise * own.normal()
    raw = -0.5 * ((np.array(row.rubric.range) - centre) / 1.2) ** 2
    log_probs = tuple((raw - np.logaddexp.reduce(raw)).tolist())
    return Judged(digest, row.key, "pointwise", (log_probs,), (0.99,), **cost)
