"""Where the time of a picture goes: preparing it, each tile in the tower, packing, prefill.

    python scripts/profile_tower.py BUNDLE [--gpu] [--checkpoint WORK/hf] [--batches 512 1024 2048]

`scripts/random_critic.py` makes a bundle and a checkpoint of 7B shape. The runtime's own code is
measured: llama.cpp's functions are handed to it with a clock around each. The tower runs with
flash attention and without, on the device and on the CPU, tile after tile and in several contexts
at once, since llama.cpp encodes one tile at a time; and once with a clock on every operation, which
slows it down and says what kind of operation takes how much. With ``--checkpoint`` transformers'
tower of the same shape encodes as many tiles, one by one and together, in bf16 on a GPU and in
float32 on a CPU. Every part prints its rows when it is done.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}  # as the command line does

import numpy as np

from edgecritic import Bundle
from edgecritic.backends.base import Append, FloatArray, ImageSpan, TextSpan, UInt8Array
from edgecritic.backends.llamacpp.artifacts import check_language_model
from edgecritic.backends.llamacpp.engine import LlamaCppBackend
from edgecritic.backends.llamacpp.native import Native, load_native
from edgecritic.backends.llamacpp.projector import Projector
from edgecritic.backends.llamacpp.projector_file import check_projector
from edgecritic.backends.options import EngineOptions
from edgecritic.pictures import VisionProfile
from edgecritic.profile import CriticProfile
from edgecritic.vision.cache import FeatureCache, FeatureKey
from edgecritic.vision.decode import content_hash, load_image
from edgecritic.vision.packing import pack_features
from edgecritic.vision.tiling import TiledImage, pixel_values, tile
from edgecritic_bench.speed.cli import picture_size
from edgecritic_bench.speed.tasks import default_picture, new_picture

TEXT_TOKENS: Final = 2048


def say(*columns: object) -> None:
    """Print one line of a table."""
    cells = (f"{c:.4f}" if isinstance(c, float) else str(c) for c in columns)
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def head(title: str, *columns: str) -> None:
    """Begin a table."""
    sys.stdout.write(f"\n{title}\n\n")
    say(*columns)
    say(":---", *("---:" for _ in columns[1:]))


def seconds(call: Callable[[], Any], rounds: int = 3) -> float:
    """Median time of some calls."""
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return median(took)


class Clock:
    """A module whose functions add the time that they take to `spent`."""

    def __init__(self, module: Any, eval_callback: Any = None) -> None:
        self._module = module
        self._eval_callback = eval_callback
        self.spent: dict[str, float] = defaultdict(float)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if not callable(found) or isinstance(found, type):
            return found

        def timed(*arguments: Any) -> Any:
            begun = time.perf_counter()
            try:
                given = found(*arguments)
            finally:
                self.spent[name] += time.perf_counter() - begun
            if name == "mtmd_context_params_default" and self._eval_callback is not None:
                given.cb_eval = self._eval_callback
            return given

        setattr(self, name, timed)
        return timed


class Operations:
    """Seconds by kind of operation, of a graph whose nodes are waited for one by one.

    Attributes:
        callback: what ggml calls before and behind every node.
        spent: seconds.
        counted: nodes.
    """

    def __init__(self, native: Native) -> None:
        from llama_cpp._ctypes_extensions import load_shared_library

        folder = Path(str(native.llama.__file__)).parent / "lib"
        self._base = load_shared_library("ggml-base", folder)
        self._base.ggml_op_desc.restype = ctypes.c_char_p
        self._base.ggml_op_desc.argtypes = [ctypes.c_void_p]
        self._begun = 0.0
        self.callback = native.llama.ggml_backend_sched_eval_callback(self._node)
        self.spent: dict[str, float] = defaultdict(float)
        self.counted: dict[str, int] = defaultdict(int)

    def _node(self, tensor: int, ask: bool, _data: object) -> bool:
        now = time.perf_counter()
        if ask:
            self._begun = now
            return True
        kind = self._base.ggml_op_desc(tensor).decode()
        self.spent[kind] += now - self._begun
        self.counted[kind] += 1
        return True


@contextmanager
def vocabulary_only(native: Native, bundle: Bundle) -> Iterator[int]:
    """The language model without its weights, which libmtmd asks for its width."""
    params = native.llama.llama_model_default_params()
    params.vocab_only = True
    path = os.fsencode(bundle.file("language_model"))
    model: int = native.llama.llama_model_load_from_file(path, params)
    try:
        yield model
    finally:
        native.llama.llama_model_free(model)


@dataclass(frozen=True)
class Tower:
    """How a vision tower is opened.

    Attributes:
        bundle: whose.
        model: the llama_model pointer of its language model.
        threads: of computation on the CPU.
    """

    bundle: Bundle
    model: int
    threads: int

    @contextmanager
    def open(self, native: Native, *, gpu: bool, flash: bool | None) -> Iterator[Projector]:
        """A context of it."""
        language = check_language_model(self.bundle.file("language_model"))
        facts = check_projector(self.bundle.file("mmproj"), language)
        projector = Projector(
            native, facts, self.model, n_threads=self.threads, use_gpu=gpu, flash_attention=flash
        )
        try:
            yield projector
        finally:
            projector.close()


def profile_host(source: bytes, vision: VisionProfile) -> TiledImage:
    """What happens to a picture before the tower."""
    head("before the tower", "step", "s")
    picture = load_image(source)
    say("decode the file", seconds(lambda: load_image(source)))
    say("hash the pixels", seconds(lambda: content_hash(picture)))
    say("resize and cut into tiles", seconds(lambda: tile(picture, vision.geometry)))
    tiled = tile(picture, vision.geometry)
    say("tiles", len(tiled.tiles))
    return tiled


def profile_tower(
    tower: Tower, native: Native, tiled: TiledImage, gpu: bool, brief: bool
) -> FloatArray:
    """Every way in which llama.cpp can encode the tiles, or the default; the last's features."""
    head(
        "the tower in llama.cpp",
        *("where, flash attention", "open", "first tile", "a tile", "of it: tokenize"),
        *("encode", "read and copy", "all tiles"),
    )
    ways = [(True, True), (True, False)] if gpu else []
    tiles, features = tiled.tiles, np.empty(0, np.float32)
    ways = [(gpu, True)] if brief else [*ways, (False, True), (False, False)]
    for on_gpu, flash in ways:
        used = tiles if on_gpu or not gpu else tiles[:3]
        clock = Clock(native.mtmd)
        begun = time.perf_counter()
        with tower.open(replace(native, mtmd=clock), gpu=on_gpu, flash=flash) as projector:
            opened = time.perf_counter() - begun
            first = seconds(lambda: projector.encode(tiles[:1]), 1)
            clock.spent.clear()
            begun = time.perf_counter()
            listed = [projector.encode(used[i : i + 1]) for i in range(len(used))]
            took = (time.perf_counter() - begun) / len(used)
            features = np.concatenate(listed)
        spent = {name: value / len(used) for name, value in clock.spent.items()}
        tokenize, encode = spent["mtmd_tokenize_from_parts"], spent["mtmd_encode_chunk"]
        where = f"{'GPU' if on_gpu else 'CPU'}, {'on' if flash else 'off'}"
        rest = took - tokenize - encode
        say(where, opened, first, took, tokenize, encode, rest, took * len(tiles))
    return features


def profile_operations(tower: Tower, native: Native, tiled: TiledImage, gpu: bool) -> None:
    """One tile, node by node."""
    for flash in (True, False):
        state = "on" if flash else "off"
        head(f"one tile, node by node, flash attention {state}", "operation", "nodes", "s")
        operations = Operations(native)
        clock = Clock(native.mtmd, operations.callback)
        with tower.open(replace(native, mtmd=clock), gpu=gpu, flash=flash) as projector:
            projector.encode(tiled.tiles[:1])
            operations.spent.clear()
            operations.counted.clear()
            projector.encode(tiled.tiles[:1])
        for kind, took in sorted(operations.spent.items(), key=lambda item: -item[1])[:12]:
            say(kind, operations.counted[kind], took)
        say("all", sum(operations.counted.values()), sum(operations.spent.values()))


def profile_contexts(tower: Tower, native: Native, tiled: TiledImage, gpu: bool) -> None:
    """Several contexts, a thread each; they share nothing, so each holds the weights."""
    head("the tower in several contexts at once", "contexts", "all tiles, s")
    for count in (1, 2, 4) if gpu else (1, 2):
        with ExitStack() as stack:
            ways = [tower.open(native, gpu=gpu, flash=None) for _ in range(count)]
            projectors = [stack.enter_context(way) for way in ways]
            pool = stack.enter_context(ThreadPoolExecutor(count))
            for projector in projectors:
                projector.encode(tiled.tiles[:1])
            shares = [tiled.tiles[index::count] for index in range(count)]
            say(count, seconds(partial(_encode_shares, pool, projectors, shares)))


def _encode_shares(
    pool: ThreadPoolExecutor, projectors: Sequence[Projector], shares: Sequence[UInt8Array]
) -> None:
    for done in pool.map(_one_by_one, projectors, shares):
        del done


def _one_by_one(projector: Projector, tiles: UInt8Array) -> list[FloatArray]:
    return [projector.encode(tiles[index : index + 1]) for index in range(len(tiles))]


def profile_packing(features: FloatArray, tiled: TiledImage, vision: VisionProfile) -> FloatArray:
    """What happens to features behind the tower."""
    head("behind the tower", "step", "s")
    width = vision.image_newline.size
    if len(features) < len(tiled.tiles):
        features = np.resize(features, (len(tiled.tiles), *features.shape[1:]))
    pack = partial(pack_features, features, tiled, vision.geometry, vision.image_newline)
    say("pack", seconds(pack))
    packed = pack()
    key, cache = FeatureKey("", "", ""), FeatureCache()
    say("keep in the cache", seconds(lambda: cache.put(key, packed), 1))
    say("features of", f"{len(packed)} x {width}")
    return packed


def profile_prefill(bundle: Bundle, packed: FloatArray, args: argparse.Namespace) -> None:
    """The language model over the picture, and over text."""
    head(
        "the language model",
        *("positions at once, flash attention", "picture", "a second", "of it: llama_decode"),
        *(f"{TEXT_TOKENS} text tokens", "a second"),
    )
    text = TextSpan(tuple(100 + index % 100 for index in range(TEXT_TOKENS)))
    for size, flash in [*((size, None) for size in args.batches), (args.batches[-1], False)]:
        options = EngineOptions(
            n_ctx=max(len(packed), TEXT_TOKENS) + 256,
            n_threads=args.threads,
            device="gpu" if args.gpu else "cpu",
            n_batch=size,
            n_ubatch=size,
            flash_attention=flash,
        )
        engine = LlamaCppBackend(bundle.file("language_model"), options=options)
        clock = Clock(engine._decoder._native.llama)
        engine._decoder._native = replace(engine._decoder._native, llama=clock)
        try:
            _prefilled(engine, ImageSpan("", packed))
            clock.spent.clear()
            picture = median(_prefilled(engine, ImageSpan("", packed)) for _ in range(args.rounds))
            decode = clock.spent["llama_decode"] / args.rounds
            words = median(_prefilled(engine, text) for _ in range(args.rounds))
        finally:
            engine.close()
        state = {None: "auto", False: "off"}[flash]
        rates = len(packed) / picture, TEXT_TOKENS / words
        say(f"{size}, {state}", picture, f"{rates[0]:,.0f}", decode, words, f"{rates[1]:,.0f}")


def _prefilled(engine: LlamaCppBackend, span: TextSpan | ImageSpan) -> float:
    sequence = engine.open_sequence()
    begun = time.perf_counter()
    engine.append([Append(sequence, (span,))])
    took = time.perf_counter() - begun
    engine.close_sequence(sequence)
    return took


def profile_transformers(folder: Path, tiled: TiledImage, vision: VisionProfile, gpu: bool) -> None:
    """SigLIP and the projector of transformers."""
    import torch
    from transformers import AutoConfig
    from transformers.models.llava_onevision.modeling_llava_onevision import (
        LlavaOnevisionMultiModalProjector,
    )
    from transformers.models.siglip.modeling_siglip import SiglipVisionModel

    kind = torch.bfloat16 if gpu else torch.float32
    device = "cuda" if gpu else "cpu"
    head(f"transformers' tower in {kind}", "step", "s")
    config = AutoConfig.from_pretrained(folder)
    config.vision_config._attn_implementation = "sdpa"
    with torch.device(device), torch.inference_mode():
        torch.set_default_dtype(kind)
        tower = SiglipVisionModel(config.vision_config).eval()
        projector = LlavaOnevisionMultiModalProjector(config).eval()
        torch.set_default_dtype(torch.float32)

        def encode(tiles: Any) -> None:
            seen = tower(tiles, output_hidden_states=True)
            projector(seen.hidden_states[config.vision_feature_layer])
            if gpu:
                torch.cuda.synchronize()

        def one_by_one(tiles: Any) -> None:
            for tile in tiles:
                encode(tile[None])

        said = torch.from_numpy(pixel_values(tiled.tiles, vision.geometry)).to(device, kind)
        encode(said[:1])
        say("one tile", seconds(lambda: encode(said[:1])))
        say("all tiles, one by one", seconds(lambda: one_by_one(said)))
        say("all tiles together", seconds(lambda: encode(said)))


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", help="folder of a GGUF bundle whose critic sees tiles")
    parser.add_argument("--checkpoint", type=Path, help="folder for transformers")
    parser.add_argument("--batches", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--picture", type=picture_size, default=(1920, 1080), metavar="WxH")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--brief", action="store_true", help="the tower in one way only")
    args = parser.parse_args()
    bundle = Bundle.read(args.bundle)
    vision = CriticProfile.of(bundle, "gguf").vision
    if not isinstance(vision, VisionProfile):
        parser.error("this critic does not see tiles")
    native = load_native()
    sys.stdout.write(f"{native.engine}, {native.gpu_name()}, picture of {args.picture}\n")
    tiled = profile_host(new_picture(default_picture(args.picture), 1), vision)
    with vocabulary_only(native, bundle) as model:
        tower = Tower(bundle, model, args.threads)
        features = profile_tower(tower, native, tiled, args.gpu, args.brief)
        if not args.brief:
            profile_operations(tower, native, tiled, args.gpu)
            profile_contexts(tower, native, tiled, args.gpu)
    packed = profile_packing(features, tiled, vision)
    profile_prefill(bundle, packed, args)
    if args.checkpoint:
        profile_transformers(args.checkpoint, tiled, vision, args.gpu)
    return 0


if __name__ == "__main__":
    sys.exit(main())
