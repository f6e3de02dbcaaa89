"""Tiny bases of every family that is tuned, rows to learn, and a run's settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from edgecritic_train.critic_data.rows import CriticRow, ImageFile
from edgecritic_train.tuning.config import TuningConfig

FAMILIES = ("llava_onevision", "qwen2_5_vl")
DIALECTS = {"llava_onevision": "edgecritic-v1", "qwen2_5_vl": "edgecritic-qwen-v1"}
COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220), "green": (20, 200, 20)}
Configure = Callable[..., TuningConfig]


def make_rows(folder: Path) -> list[CriticRow]:
    found = []
    names = list(COLOURS)
    for k in range(12):
        name, other = names[k % 3], names[(k + 1) % 3]
        path = folder / f"{k}.png"
        size = (28, 28) if k % 2 else (56, 28)
        Image.new("RGB", size, COLOURS[name]).save(path)
        common: dict[str, Any] = {
            "question": "What colour?",
            "images": (ImageFile(path),),
            "group": str(k),
            "split": "validation" if k >= 10 else "train",
        }
        right_first = k % 4 < 2
        pair = (name, other) if right_first else (other, name)
        reason = "It is shown." if k % 3 else ""
        found.append(
            CriticRow(
                id=f"pair-{k}",
                setting="pairwise",
                responses=pair,
                verdict="first" if right_first else "second",
                reason=reason,
                **common,
            )
        )
        found.append(
            CriticRow(
                id=f"score-{k}",
                setting="pointwise",
                responses=(pair[0],),
                verdict=9 if right_first else 2,
                reason=reason,
                wording=k,
                **common,
            )
        )
    return found


def write_config(path: Path, base: Path, rows: Path, output: Path) -> Path:
    """Settings of a run; a base in a folder named like a family gets its dialect."""
    settings = {
        "base": {"model": str(base), "quantization": "none", "dtype": "float32"},
        "adapter": {"rank": 4, "alpha": 8, "dropout": 0.0},
        "data": {
            "train": [str(rows)],
            "dialect": DIALECTS.get(base.name, "edgecritic-v1"),
            "workers": 0,
            "max_tokens": 900,
        },
        "output": str(output),
        "optimizer": {
            "batch": 2,
            "accumulation": 2,
            "learning_rate": 1e-3,
            "gradient_checkpointing": False,
        },
        "evaluation": {"every": 2},
        "checkpoints": {"every": 2},
    }
    path.write_text(yaml.safe_dump(settings))
    return path
