"""One tiny checkpoint as the real engines read it."""

from __future__ import annotations

from pathlib import Path

from edgecritic.backends.onnx import OnnxFiles
from edgecritic.vision import ImageGeometry
from tiny_checkpoints import PATCH_SIZE, PINPOINTS, TILE_SIZE
from tiny_onnx import FILES

GEOMETRY = ImageGeometry(TILE_SIZE, PATCH_SIZE, tuple((h, w) for h, w in PINPOINTS), anyres_max=3)


def onnx_files(folder: Path) -> OnnxFiles:
    """The files of a folder that `write_onnx` wrote."""
    decoder, embed_tokens, vision_encoder = (folder / name for name in FILES)
    return OnnxFiles(
        decoder,
        embed_tokens,
        folder / "tokenizer.json",
        vision_encoder,
        external_data=tuple(sorted(folder.glob("*_data"))),
        configs=(folder / "config.json",),
    )
