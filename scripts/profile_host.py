"""What this side of the engine costs: for each token that is written, and for each picture.

    python scripts/profile_host.py tokens BUNDLE [--gpu | --idle] [--prompts 1800 7800]
    python scripts/profile_host.py picture BUNDLE [--picture 1920x1080] [--tower [--gpu]]

`tokens` reads prompts and writes behind them in ever more layers of the runtime, beside plain loops
of llama.cpp's own calls, all in turns. llama.cpp's functions are handed to the runtime with a clock
around each, so what is left is Python's; with ``--idle`` they do nothing. For a CPU,
`scripts/random_critic.py WORK --tiny --vocabulary 152064` makes a critic whose rows of logits are a
7B's and whose layers cost little.

`picture` sends pictures their whole way through the runtime, and through each step of it alone. It
needs no model: a stand-in for the tower gives random features of a 7B's width, at once or after
the time that a GPU takes, in which the processor is idle.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median, quantiles
from typing import Any, Final, cast

os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}  # as the command line does

import numpy as np
from profile_tower import Clock, head, say, seconds

from edgecritic import Bundle, Critic, Progress, ScoreRequest, Verdict
from edgecritic.backends.base import (
    Append,
    Backend,
    BackendInfo,
    FloatArray,
    TextSpan,
    UInt8Array,
)
from edgecritic.backends.llamacpp.engine import LlamaCppBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.judging.generation import Sampling, Writer
from edgecritic.pictures import PictureEncoder, VisionProfile
from edgecritic.profile import CriticProfile
from edgecritic.vision.cache import FeatureCache, FeatureKey
from edgecritic.vision.decode import content_hash, load_image
from edgecritic.vision.packing import pack_features
from edgecritic.vision.tiling import tile
from edgecritic_bench.speed.cli import picture_size
from edgecritic_bench.speed.tasks import QUESTION, default_picture, new_picture

TOKEN: Final = 1000
"""What prompts consist of, and what is written where nothing chooses."""
WORD: Final = "word "


# --- tokens --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """One prompt and a text behind it.

    Attributes:
        prompt: tokens that were read.
        reading: seconds for them.
        first: from the prompt's logits, or the verdict, to the first token.
        each: seconds of every further token.
        within: of them the seconds in llama.cpp's functions; none where no clock ran.
    """

    prompt: int
    reading: float
    first: float
    each: Sequence[float]
    within: Sequence[float] = ()


class Plain:
    """llama.cpp's own calls with a context of its own settings.

    Args:
        args: of the command line.
        model: pointer to a llama_model.
        llama: functions of llama.h.
    """

    def __init__(self, args: argparse.Namespace, model: int, llama: Any) -> None:
        params = llama.llama_context_default_params()
        params.n_ctx = args.n_ctx
        params.n_batch = params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = args.threads
        params.flash_attn_type = 1
        self._llama = llama
        self._context = llama.llama_init_from_model(model, params)
        self._n_vocab: int = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
        self._sampler = llama.llama_sampler_init_greedy()

    def write(self, prompt: int, tokens: int, choose: Callable[[], object]) -> Written:
        """Read and write, waiting for the logits of each token."""
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
        times = [time.perf_counter()]
        for at in range(0, prompt, 512):
            self._decode([TOKEN] * min(512, prompt - at))
        for _ in range(tokens + 1):
            times.append(time.perf_counter())
            choose()
            self._decode([TOKEN])
        steps = [after - before for before, after in pairwise(times)]
        return Written(prompt, steps[0], steps[1], steps[2:])

    def argmax(self) -> int:
        """The likeliest token by numpy."""
        row = self._llama.llama_get_logits_ith(self._context, -1)
        return int(np.ctypeslib.as_array(row, shape=(self._n_vocab,)).argmax())

    def sampled(self) -> int:
        """The likeliest token by llama.cpp's greedy sampler."""
        return int(self._llama.llama_sampler_sample(self._sampler, self._context, -1))

    def close(self) -> None:
        """Free all."""
        self._llama.llama_sampler_free(self._sampler)
        self._llama.llama_free(self._context)

    def _decode(self, ids: Sequence[int]) -> None:
        array = (ctypes.c_int32 * len(ids))(*ids)
        batch = self._llama.llama_batch_get_one(array, len(ids))
        if self._llama.llama_decode(self._context, batch):
            raise SystemExit("llama_decode failed")
        self._llama.llama_get_logits_ith(self._context, -1)  # waits until they are there


def by_engine(
    engine: LlamaCppBackend, clock: Clock, prompt: int, tokens: int, *, chosen: bool
) -> Written:
    """Through `Backend.append`, and with `chosen` through a `Writer`, whose choices are ignored."""
    sequence = engine.open_sequence()
    writer = Writer(Sampling(tokens + 2), engine.token_bytes, frozenset(), tokens + 2)
    times = [(time.perf_counter(), clock.all)]
    row = engine.append([Append(sequence, (TextSpan((TOKEN,) * prompt),))])[0]
    for _ in range(tokens + 1):
        times.append((time.perf_counter(), clock.all))
        if chosen:
            writer.feed(cast(FloatArray, row))
        row = engine.append([Append(sequence, (TextSpan((TOKEN,)),))])[0]
    engine.close_sequence(sequence)
    steps, within = _differences(times)
    return Written(prompt, steps[0], steps[1], steps[2:], within[2:])


def by_critic(critic: Critic, clock: Clock, prompt: int, tokens: int) -> Written:
    """Through the whole runtime: a verdict, and a reason behind it."""
    times: list[tuple[float, float]] = []

    def listen(event: object) -> None:
        token = isinstance(event, Progress) and event.stage == "token"
        if token or isinstance(event, Verdict):
            times.append((time.perf_counter(), clock.all))

    critic.forget()
    request = ScoreRequest(None, QUESTION, WORD * prompt, max_rationale_tokens=tokens)
    verdict = critic.submit(request, on_event=listen).result()
    steps, within = _differences(times)
    used = verdict.usage.decoded_tokens
    return Written(used, verdict.timings.verdict, steps[0], steps[1:], within[1:])


def _differences(times: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    pairs = list(pairwise(times))
    return [b[0] - a[0] for a, b in pairs], [b[1] - a[1] for a, b in pairs]


class WholeClock(Clock):
    """A clock that tells how long all functions took together."""

    @property
    def all(self) -> float:
        """Seconds."""
        return sum(self.spent.values())


class Idle:
    """llama.h's functions, but nothing is decoded, and one row of logits is given for all.

    Args:
        llama: the functions.
        row: (n_vocab,) float32.
    """

    def __init__(self, llama: Any, row: FloatArray) -> None:
        self._llama = llama
        self._row = row
        self._pointer = row.ctypes.data_as(ctypes.POINTER(ctypes.c_float))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llama, name)

    def llama_decode(self, _context: int, _batch: Any) -> int:
        """Done."""
        return 0

    def llama_get_logits_ith(self, _context: int, _row: int) -> Any:
        """The row."""
        return self._pointer


def readable_row(engine: LlamaCppBackend) -> FloatArray:
    """Logits by which a verdict is likely, and a reason does not end."""
    generator = np.random.default_rng(0)
    row = generator.standard_normal(engine.info.n_vocab, dtype=np.float32)
    row[list(engine.info.end_tokens)] = -30
    row[[engine.tokenize(level)[0] for level in "23456789"]] = 20
    return row


class Talkative:
    """llama.h's functions, but logits are such that a verdict can be read and a reason goes on.

    Args:
        llama: the functions.
        engine: whose vocabulary it is.
    """

    def __init__(self, llama: Any, engine: LlamaCppBackend) -> None:
        self._llama = llama
        self._ends = tuple(engine.info.end_tokens)
        self._levels = tuple(engine.tokenize(level)[0] for level in "23456789")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llama, name)

    def llama_get_logits_ith(self, context: int, row: int) -> Any:
        """The row, changed where it lies."""
        found = self._llama.llama_get_logits_ith(context, row)
        for token in self._ends:
            found[token] = -1000.0
        for token in self._levels:
            found[token] = 1000.0
        return found


def clocked(engine: LlamaCppBackend, *, idle: bool) -> WholeClock:
    """Put a clock around the functions that an engine decodes with."""
    llama = engine._decoder._native.llama
    talking = Idle(llama, readable_row(engine)) if idle else Talkative(llama, engine)
    clock = WholeClock(talking)
    engine._decoder._native = replace(engine._decoder._native, llama=clock)
    return clock


@contextmanager
def layers(args: argparse.Namespace) -> Iterator[dict[str, Callable[[int], Written]]]:
    """What writes, by name."""
    bundle = Bundle.read(args.bundle)
    device = "gpu" if args.gpu else "cpu"
    options = EngineOptions(n_ctx=args.n_ctx, n_threads=args.threads, device=device)
    engine = LlamaCppBackend(bundle.file("language_model"), options=options)
    critic = Critic.load(
        bundle, backend="llamacpp", device=device, threads=args.threads, n_ctx=args.n_ctx
    )
    inner = cast(Any, critic)._judging._backend
    plain = Plain(args, cast(int, engine._handles.model), engine._native.llama)
    clock, critics = clocked(engine, idle=args.idle), clocked(inner, idle=args.idle)
    n = args.tokens
    loops: dict[str, Callable[[int], Written]] = {
        "llama_decode, logits waited for": lambda p: plain.write(p, n, lambda: None),
        "the same, argmax by numpy": lambda p: plain.write(p, n, plain.argmax),
        "the same, llama.cpp's greedy sampler": lambda p: plain.write(p, n, plain.sampled),
    }
    try:
        yield ({} if args.idle else loops) | {
            "Backend.append": lambda p: by_engine(engine, clock, p, n, chosen=False),
            "Backend.append, Writer.feed": lambda p: by_engine(engine, clock, p, n, chosen=True),
            "Critic, a reason": lambda p: by_critic(critic, critics, p, n),
        }
    finally:
        plain.close()
        critic.close()
        engine.close()
        sys.stdout.write(f"\n{inner.info.engine}, {inner.info.device}\n")


def profile_tokens(args: argparse.Namespace) -> None:
    """All layers in turns, and their medians."""
    with layers(args) as ways:
        for prompt in args.prompts:
            found: dict[str, list[Written]] = {name: [] for name in ways}
            for turn in range(args.rounds + 1):
                for name, write in ways.items():
                    written = write(prompt)
                    if turn:  # the first one sets things up
                        found[name].append(written)
            tell_tokens(prompt, found)


def tell_tokens(prompt: int, found: dict[str, list[Written]]) -> None:
    """The table of one length of prompt; milliseconds."""
    head(
        f"behind {prompt} tokens, ms a token",
        *("layer", "a token", "quartiles", "of it Python", "beside the first", "tokens a second"),
        *("first token", "read", "tokens read a second"),
    )
    base = median(step for one in next(iter(found.values())) for step in one.each)
    for name, turns in found.items():
        steps = [1000 * step for one in turns for step in one.each]
        inside = [1000 * step for one in turns for step in one.within]
        low, middle, high = quantiles(steps, n=4)
        own = f"{median(a - b for a, b in zip(steps, inside, strict=True)):.3f}" if inside else ""
        first = f"{1000 * median(one.first for one in turns):.1f}"
        reading = median(one.reading for one in turns)
        rate = f"{median(one.prompt / one.reading for one in turns):,.0f}"
        spread = f"{low:.3f} to {high:.3f}"
        ratio = f"{middle / base / 1000:.3f}"
        say(
            name, f"{middle:.3f}", spread, own, ratio, f"{1000 / middle:,.1f}", first, reading, rate
        )


# --- a picture -----------------------------------------------------------------------------------


class TimedTower:
    """Encodes tiles and says how long that took; nothing else of a `Backend`.

    Args:
        info: of the engine.
        encode: (n, H, W, 3) to (n, patches, width) features.

    Attributes:
        seconds: so far.
    """

    def __init__(self, info: BackendInfo, encode: Callable[[UInt8Array], FloatArray]) -> None:
        self.info = info
        self.seconds = 0.0
        self._encode = encode

    def encode_tiles(self, tiles: UInt8Array) -> FloatArray:
        """See `Backend.encode_tiles`."""
        begun = time.perf_counter()
        found = self._encode(tiles)
        self.seconds += time.perf_counter() - begun
        return found


def stand_in(patches: int, width: int, wait: float) -> TimedTower:
    """Random features, copied as libmtmd's are, after waiting some seconds for each tile."""
    info = BackendInfo("none", "none", "cpu", 1 << 20, width, 1, 1, frozenset(), 0)
    generator = np.random.default_rng(0)
    features = generator.standard_normal((1, patches, width), dtype=np.float32)

    def encode(tiles: UInt8Array) -> FloatArray:
        time.sleep(wait * len(tiles))
        return np.repeat(features, len(tiles), axis=0)

    return TimedTower(info, encode)


@contextmanager
def tower_of(args: argparse.Namespace, bundle: Bundle, patches: int) -> Iterator[TimedTower]:
    """The bundle's tower, or one that stands in for it."""
    if not args.tower:
        yield stand_in(patches, args.width, args.wait)
        return
    engine = LlamaCppBackend(
        bundle.file("language_model"),
        mmproj=bundle.file("mmproj"),
        options=EngineOptions(
            n_ctx=args.n_ctx, n_threads=args.threads, device="gpu" if args.gpu else "cpu"
        ),
    )
    try:
        yield TimedTower(engine.info, engine.encode_tiles)
    finally:
        engine.close()


def profile_picture(args: argparse.Namespace) -> None:
    """A new picture through the runtime, and its steps."""
    bundle = Bundle.read(args.bundle)
    vision = CriticProfile.of(bundle, "gguf").vision
    if not isinstance(vision, VisionProfile):
        raise SystemExit("this critic does not see tiles")
    with tower_of(args, bundle, vision.geometry.patches_per_side**2) as tower:
        newline = np.resize(vision.image_newline, tower.info.n_embd)
        vision = VisionProfile(vision.geometry, newline, vision.tower)
        head("a new picture", "step", "s", "quartiles")
        tell_whole(args, tower, vision)
        tell_steps(args, tower, vision)


def tell_whole(args: argparse.Namespace, tower: TimedTower, vision: VisionProfile) -> None:
    """All of it; the first picture, which sets things up, does not count."""
    encoder = PictureEncoder(cast(Backend, tower), vision)
    base = default_picture(args.picture)
    own, towers = [], []
    for number in range(args.rounds + 1):
        source = new_picture(base, number)
        tower.seconds = 0.0
        begun = time.perf_counter()
        encoder.spans(source)
        own.append(time.perf_counter() - begun - tower.seconds)
        towers.append(tower.seconds)
    for name, found in (("the tower", towers[1:]), ("all but the tower", own[1:])):
        low, middle, high = quantiles(found, n=4)
        say(name, middle, f"{low:.4f} to {high:.4f}")


def tell_steps(args: argparse.Namespace, tower: TimedTower, vision: VisionProfile) -> None:
    """Each step by itself."""
    geometry, newline = vision.geometry, vision.image_newline
    source = new_picture(default_picture(args.picture), 0)
    picture = load_image(source)
    tiled = tile(picture, geometry)
    features = tower.encode_tiles(tiled.tiles)
    steps: dict[str, Callable[[], object]] = {
        "decode the file": lambda: load_image(source),
        "hash the pixels": lambda: content_hash(picture),
        "resize and cut into tiles": lambda: tile(picture, geometry),
        "pack": lambda: pack_features(features, tiled, geometry, newline),
    }
    for name, step in steps.items():
        say(name, seconds(step, args.rounds), "")
    packed, cache = pack_features(features, tiled, geometry, newline), FeatureCache()
    say("keep in the cache", seconds(lambda: cache.put(FeatureKey("", "", ""), packed), 1), "")
    say("tiles, tokens", len(tiled.tiles), len(packed))


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("tokens", "picture"))
    parser.add_argument("bundle", help="folder of a GGUF bundle")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, nargs="+", default=[1800, 7800])
    parser.add_argument("--tokens", type=int, default=64, help="to write")
    parser.add_argument("--idle", action="store_true", help="decode nothing: Python's part alone")
    parser.add_argument("--n-ctx", type=int, default=16_384)
    parser.add_argument("--picture", type=picture_size, default=(1920, 1080), metavar="WxH")
    parser.add_argument("--width", type=int, default=3584, help="of the stand-in's features")
    parser.add_argument("--wait", type=float, default=0.0, help="the stand-in's seconds for a tile")
    parser.add_argument("--tower", action="store_true", help="the bundle's own, not a stand-in")
    args = parser.parse_args()
    {"tokens": profile_tokens, "picture": profile_picture}[args.part](args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
