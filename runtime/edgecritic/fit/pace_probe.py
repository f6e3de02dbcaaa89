"""Timing an engine on layers such as a critic has, in a process of its own."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from edgecritic.backends.llamacpp.native import Package
from edgecritic.backends.options import EngineOptions
from edgecritic.fit.pace import (
    DEEP,
    PAST,
    SHALLOW,
    SIZES,
    LayerShape,
    Pace,
    PicturePace,
    Times,
    pace_of,
    typical,
)

_N_CTX: Final = PAST + SIZES[-1]
_N_VOCAB: Final = 1024
_SIDE: Final = 1024
_TILE: Final = 384
_PATCH: Final = 16


def llamacpp_pace(folder: Path, layer: LayerShape, threads: int, package: Package) -> Pace:
    """llama.cpp's; files are written into a folder of its own."""
    from edgecritic.backends.base import Append, TextSpan
    from edgecritic.backends.llamacpp import LlamaCppBackend
    from edgecritic.fit.stand_in import write_adapter, write_layers

    def times(n_layers: int) -> Times:
        path, adapters = folder / f"{n_layers}.gguf", []
        write_layers(path, layer, n_layers, _N_VOCAB)
        if layer.adapter:
            adapters = [folder / f"{n_layers}-lora.gguf"]
            write_adapter(adapters[0], layer, n_layers)
        # As a critic is loaded, but for the context, of which only what is used takes time.
        options = EngineOptions(n_ctx=2 * _N_CTX, n_threads=threads, device="cpu")
        engine = LlamaCppBackend(path, adapters=adapters, options=options, package=package)
        behind: list[int] = []

        def tokens(sequence: int, n: int) -> None:
            engine.append([Append(sequence, (TextSpan((1,) * n),))])

        def run(n: int, past: int) -> None:
            if past and not behind:
                behind.append(engine.open_sequence())
                tokens(behind[0], past)
            sequence = engine.fork(behind[0]) if past else engine.open_sequence()
            tokens(sequence, n)
            engine.close_sequence(sequence)

        with closing(engine):
            return Times.of(run)

    return pace_of(times(SHALLOW), times(DEEP))


def onnx_pace(folder: Path, layer: LayerShape, threads: int) -> Pace:
    """ONNX Runtime's, likewise."""
    from edgecritic.backends.chunk import Chunk
    from edgecritic.backends.onnx.artifacts import check_decoder
    from edgecritic.backends.onnx.memory import HostMemory
    from edgecritic.backends.onnx.model import Decoder
    from edgecritic.backends.onnx.runtime import CPU, Session, load_runtime
    from edgecritic.fit.stand_in_graph import write_layers

    runtime = load_runtime()

    def times(n_layers: int) -> Times:
        path = folder / f"{n_layers}.onnx"
        write_layers(path, layer, n_layers, _N_CTX)
        facts = check_decoder(path, tuple(folder.glob("*_data")))
        session = Session(runtime, path, provider=CPU, n_threads=threads)
        decoder = Decoder(session, facts, HostMemory(runtime, facts, _N_CTX), _N_CTX)
        values = np.random.default_rng(0).normal(size=(SIZES[-1], layer.n_embd))

        def run(n: int, past: int) -> None:
            positions = np.tile(np.arange(past, past + n, dtype=np.int32), (3, 1))
            decoder.decode(Chunk(values[:n].astype(np.float32), positions), past, None)

        return Times.of(run)

    return pace_of(times(SHALLOW), times(DEEP))


def picture_pace(folder: Path) -> PicturePace:
    """Of a photograph's size, of noise, whose file is as large as any."""
    from edgecritic.vision import (
        ImageGeometry,
        ImageLimits,
        content_hash,
        decode_image,
        read_image,
        tile,
    )

    noise = np.random.default_rng(0).integers(0, 255, (_SIDE, _SIDE, 3), dtype=np.uint8)
    source, limits = folder / "noise.png", ImageLimits()
    Image.fromarray(noise).save(source)
    geometry = ImageGeometry(_TILE, _PATCH, ((2 * _TILE, 2 * _TILE),))

    def see() -> None:
        decoded = decode_image(read_image(source, limits), limits)
        content_hash(decoded)
        tile(decoded, geometry)

    pixels = _SIDE**2
    again = typical(lambda: read_image(source, limits).digest)
    return PicturePace(typical(see) / pixels + again / pixels, again / pixels)
