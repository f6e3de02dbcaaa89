"""Writes image features of an evaluation set's pictures, for comparison with an engine's.

Command line: ``edgecritic train features RUN --language-model GGUF --set FOLDER --out X.npz
[--limit N]``. ``X.npz`` holds one (n_tokens, d) float32 array per picture, by its path in the set:
the packed image tokens as the language model reads them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from edgecritic.cli.options import at_least
from edgecritic_train.embedded.config import embedded_geometry
from edgecritic_train.embedded.feed import normalised
from edgecritic_train.embedded.model import parts
from edgecritic_train.embedded.rows import pack_image
from edgecritic_train.embedded.sft import image_embeddings
from edgecritic_train.embedded.train import WEIGHTS, load_critic


def pictures(folder: Path, limit: int | None) -> Iterator[str]:
    """Paths of an evaluation set's pictures, relative to its folder.

    Args:
        folder: holds ``items.jsonl``.
        limit: items to read; None for all.
    """
    with (folder / "items.jsonl").open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if limit is not None and number >= limit:
                return
            yield from json.loads(line)["images"]


@torch.no_grad()
def features(
    run: Path, language_model: Path, folder: Path, limit: int | None
) -> dict[str, NDArray[np.float32]]:
    """Packed image tokens in float32, by the picture's path in the set.

    Args:
        run: folder with ``critic.safetensors`` and ``training.json``.
        language_model: the GGUF file that it was trained over.
        folder: the evaluation set.
        limit: items to read; None for all.

    Raises:
        CriticError: the run cannot be loaded.
    """
    model = parts(load_critic(run / WEIGHTS, language_model).base_model.model)
    geometry = embedded_geometry()
    found = {}
    for name in pictures(folder, limit):
        with Image.open(folder / name) as opened:
            packed = pack_image(opened.convert("RGB"), geometry)
        tiles = normalised(torch.from_numpy(packed.tiles))
        tokens = image_embeddings(model, tiles, torch.from_numpy(packed.gather))
        found[name] = np.asarray(tokens.float().numpy(), dtype=np.float32)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="edgecritic train features", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--language-model", type=Path, required=True)
    parser.add_argument("--set", type=Path, required=True, dest="folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=at_least(1))
    options = parser.parse_args(argv)
    found = features(options.run, options.language_model, options.folder, options.limit)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("wb") as out:
        np.savez(out, **cast(dict[str, Any], found))
    sys.stdout.write(f"{len(found)} pictures in {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
