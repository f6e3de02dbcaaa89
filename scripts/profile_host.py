"""What this side of the engine costs: for each token that is written, and for each picture.

    python scripts/profile_host.py tokens BUNDLE [--gpu | --idle] [--settings] [--prompts 1800 7800]
    python scripts/profile_host.py picture BUNDLE [--picture 1920x1080] [--tower [--gpu]]

`tokens` reads prompts and writes behind them in ever more layers of the runtime, beside plain loops
of llama.cpp's own calls, all in turns. llama.cpp's functions are handed to the runtime with a clock
around each, so what is left is Python's; with ``--idle`` they do nothing. With ``--settings`` the
plain loop also runs in contexts that differ from its own in one of the runtime's settings each.
For a CPU, `scripts/random_critic.py WORK --tiny --vocabulary 152064` makes a critic whose rows of
logits are a 7B's and whose layers cost little.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from statistics import median, quantiles
from typing import Any, Final, Self, cast

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
from edgecritic.backends.llamacpp.engine import LlamaCppBackend, _apply_adapters, _Handles
from edgecritic.backends.options import Device, EngineOptions
from edgecritic.hub import find_bundle
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
        reused: graphs that llama.cpp had from the batch before, of those for prompt and text.
        within: of them the seconds in llama.cpp's functions; none where no clock ran.
    """

    prompt: int
    reading: float
    first: float
    each: Sequence[float]
    reused: int
    within: Sequence[float] = ()


SETTINGS: Final[Mapping[str, Mapping[str, int]]] = {
    "32 sequences in one cache": {"n_seq_max": 32, "kv_unified": True},
    "32 rows of logits": {"n_outputs_max": 32},
    "flash attention as llama.cpp likes": {"flash_attn_type": -1},
}
"""What the runtime's contexts have and a plain loop's has not."""


class Plain:
    """llama.cpp's own calls in a loop.

    Args:
        engine: whose model it is.
        context: pointer to a llama_context in which no sequence is open.
    """

    def __init__(self, engine: LlamaCppBackend, context: int) -> None:
        self._llama = engine._native.llama
        self._context = context
        self._n_vocab = engine.info.n_vocab
        self._sampler = self._llama.llama_sampler_init_greedy()

    @classmethod
    def alone(cls, layers: Layers, **settings: int) -> Self:
        """In a context of its own, with some settings.

        Args:
            layers: the model and its adapters.
            settings: of llama_context_params.
        """
        args, native, handles = layers.args, layers.engine._native, layers.engine._handles
        params = native.llama.llama_context_default_params()
        params.n_ctx = args.n_ctx
        params.n_batch = params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = args.threads
        params.flash_attn_type = 1
        for name, value in settings.items():
            setattr(params, name, value)
        context: int = native.llama.llama_init_from_model(handles.model, params)
        _apply_adapters(native, _Handles(native, handles.model, context), layers.adapters)
        layers.closing.callback(native.llama.llama_free, context)
        return cls(layers.engine, context)

    def write(self, prompt: int, tokens: int, choose: Callable[[], object]) -> Written:
        """Read and write, waiting for the logits of each token."""
        before = reused(self._llama, self._context)
        times = [time.perf_counter()]
        for at in range(0, prompt, 512):
            self.decode([TOKEN] * min(512, prompt - at))
        for _ in range(tokens + 1):
            times.append(time.perf_counter())
            choose()
            self.decode([TOKEN])
        steps = [after - before for before, after in pairwise(times)]
        graphs = reused(self._llama, self._context) - before
        self.forget()
        return Written(prompt, steps[0], steps[1], steps[2:], graphs)

    def argmax(self) -> int:
        """The likeliest token by numpy."""
        row = self._llama.llama_get_logits_ith(self._context, -1)
        return int(np.ctypeslib.as_array(row, shape=(self._n_vocab,)).argmax())

    def sampled(self) -> int:
        """The likeliest token by llama.cpp's greedy sampler."""
        return int(self._llama.llama_sampler_sample(self._sampler, self._context, -1))

    def forget(self) -> None:
        """Empty the cache."""
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)

    def decode(self, ids: Sequence[int]) -> None:
        """Decode tokens, and wait for the logits of the last; as many as a batch holds at most."""
        array = (ctypes.c_int32 * len(ids))(*ids)
        batch = self._llama.llama_batch_get_one(array, len(ids))
        if self._llama.llama_decode(self._context, batch):
            raise SystemExit("llama_decode failed")
        self._llama.llama_get_logits_ith(self._context, -1)  # waits until they are there


def reused(llama: Any, context: int | None) -> int:
    """Graphs that a context did not have to build."""
    return int(llama.llama_perf_context(context).n_reused)


def by_engine(
    engine: LlamaCppBackend, clock: Clock, prompt: int, tokens: int, *, chosen: bool
) -> Written:
    """Through `Backend.append`, and with `chosen` through a `Writer`, whose choices are ignored."""
    sequence = engine.open_sequence()
    writer = Writer(Sampling(tokens + 2), engine.token_bytes, frozenset(), tokens + 2)
    before = reused(engine._native.llama, engine._handles.context)
    times = [(time.perf_counter(), clock.all)]
    row = engine.append([Append(sequence, (TextSpan((TOKEN,) * prompt),))])[0]
    for _ in range(tokens + 1):
        times.append((time.perf_counter(), clock.all))
        if chosen:
            writer.feed(cast(FloatArray, row))
        row = engine.append([Append(sequence, (TextSpan((TOKEN,)),))])[0]
    engine.close_sequence(sequence)
    graphs = reused(engine._native.llama, engine._handles.context) - before
    steps, within = _differences(times)
    return Written(prompt, steps[0], steps[1], steps[2:], graphs, within[2:])


def by_critic(
    critic: Critic, inner: LlamaCppBackend, clock: Clock, prompt: int, tokens: int
) -> Written:
    """Through the whole runtime: a verdict, and a reason behind it."""
    times: list[tuple[float, float]] = []

    def listen(event: object) -> None:
        token = isinstance(event, Progress) and event.stage == "token"
        if token or isinstance(event, Verdict):
            times.append((time.perf_counter(), clock.all))

    critic.forget()
    before = reused(inner._native.llama, inner._handles.context)
    request = ScoreRequest(None, QUESTION, WORD * prompt, max_rationale_tokens=tokens)
    verdict = critic.submit(request, on_event=listen).result()
    steps, within = _differences(times)
    used = verdict.usage.decoded_tokens
    graphs = reused(inner._native.llama, inner._handles.context) - before
    return Written(used, verdict.timings.verdict, steps[0], steps[1:], graphs, within[1:])


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


class Layers:
    """What writes, with all that it needs.

    Args:
        args: of the command line.
        closing: frees it.

    Attributes:
        engine: what a critic runs on, without the runtime around it.
        critic: a critic.
        inner: what it runs on.
        adapters: of its bundle.
    """

    def __init__(self, args: argparse.Namespace, closing: ExitStack) -> None:
        bundle = find_bundle(args.bundle)
        device: Device = "gpu" if args.gpu else "cpu"
        options = EngineOptions(n_ctx=args.n_ctx, n_threads=args.threads, device=device)
        self.args = args
        self.closing = closing
        self.adapters = bundle.files("adapter")
        self.engine = LlamaCppBackend(
            bundle.file("language_model"), adapters=self.adapters, options=options
        )
        closing.callback(self.engine.close)
        self.critic = Critic.load(
            bundle, backend="llamacpp", device=device, threads=args.threads, n_ctx=args.n_ctx
        )
        closing.callback(self.critic.close)
        self.inner: LlamaCppBackend = cast(Any, self.critic)._judging._backend

    def ways(self) -> dict[str, Callable[[int], Written]]:
        """Prompt to what was written behind it, by the name of the layer."""
        return ({} if self.args.idle else self._loops()) | self._runtime()

    def _loops(self) -> dict[str, Callable[[int], Written]]:
        n, plain = self.args.tokens, Plain.alone(self)
        lent = Plain(self.engine, cast(int, self.engine._handles.context))
        found: dict[str, Callable[[int], Written]] = {
            "llama_decode, logits waited for": lambda p: plain.write(p, n, lambda: None),
            "the same, in the runtime's context": lambda p: lent.write(p, n, lambda: None),
            "the same, argmax by numpy": lambda p: plain.write(p, n, plain.argmax),
            "the same, llama.cpp's greedy sampler": lambda p: plain.write(p, n, plain.sampled),
        }
        for name, settings in SETTINGS.items() if self.args.settings else ():
            other = Plain.alone(self, **settings)
            found[f"the same, {name}"] = partial(other.write, tokens=n, choose=lambda: None)
        return found

    def _runtime(self) -> dict[str, Callable[[int], Written]]:
        n, engine, inner = self.args.tokens, self.engine, self.inner
        clock, critics = (clocked(one, idle=self.args.idle) for one in (engine, inner))
        return {
            "Backend.append": lambda p: by_engine(engine, clock, p, n, chosen=False),
            "Backend.append, Writer.feed": lambda p: by_engine(engine, clock, p, n, chosen=True),
            "Critic, a reason": lambda p: by_critic(self.critic, inner, critics, p, n),
        }

    def __str__(self) -> str:
        return f"{self.engine.info.engine}, {self.engine.info.device}"


def profile_tokens(args: argparse.Namespace) -> None:
    """All layers in turns, and their medians."""
    with ExitStack() as closing:
        layers = Layers(args, closing)
        ways = layers.ways()
        for prompt in args.prompts:
            found: dict[str, list[Written]] = {name: [] for name in ways}
            for turn in range(args.rounds + 1):
                for name, write in ways.items():
                    written = write(prompt)
                    if turn:  # the first one sets things up
                        found[name].append(written)
            tell_tokens(prompt, found)
        sys.stdout.write(f"\n{layers}\n")


def tell_tokens(prompt: int, found: dict[str, list[Written]]) -> None:
    """The table of one length of prompt; milliseconds."""
    head(
        f"behind {prompt} tokens, ms a token",
        *("layer", "a token", "quartiles", "of it Python", "beside the first", "tokens a second"),
        *("graphs reused", "first token", "read", "tokens read a second"),
    )
    base = median(step for one in next(iter(found.values())) for step in one.each)
    for name, turns in found.items():
        steps = [1000 * step for one in turns for step in one.each]
        inside = [1000 * step for one in turns for step in one.within]
        low, middle, high = quantiles(steps, n=4)
        own = f"{median(a - b for a, b in zip(steps, inside, strict=True)):.3f}" if inside else ""
        graphs = int(median(one.reused for one in turns))
        first = f"{1000 * median(one.first for one in turns):.1f}"
        reading = median(one.reading for one in turns)
        rate = f"{median(one.prompt / one.reading for one in turns):,.0f}"
        spread = f"{low:.3f} to {high:.3f}"
        ratio = f"{middle / base / 1000:.3f}"
        a_second = f"{1000 / middle:,.1f}"
        say(
            *(name, f"{middle:.3f}", spread, own, ratio, a_second),
            *(graphs, first, reading, rate),
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
    bundle = find_bundle(args.bundle)
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
    parser.add_argument("bundle", help="folder of a GGUF bundle, or embedded")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, nargs="+", default=[1800, 7800])
    parser.add_argument("--tokens", type=int, default=64, help="to write")
    parser.add_argument("--idle", action="store_true", help="decode nothing: Python's part alone")
    parser.add_argument("--settings", action="store_true", help="of the context, one by one")
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
