"""How fast a judgement stops when it is cancelled, and what becomes of a critic's memory.

    python scripts/measure_upkeep.py cancel [--rounds 10] [--long 3000]
    python scripts/measure_upkeep.py soak [--images 2000] [--minutes 30]
    python scripts/measure_upkeep.py close [--rounds 5]

``cancel`` sets a token while a long prompt is read and while a reason is written, and takes the
time until the result is there. ``soak`` judges new pictures one after the other, with a feature
cache of 1 MiB so that it is soon full, and compares the resident memory after a tenth of them with
that after all. ``close`` loads, judges and closes over and over. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from edgecritic import CancelToken, Critic, Progress, ScoreRequest
from edgecritic.progress import Event
from edgecritic.vision import FeatureCache

MIB = 2**20
QUESTION = "What is in the picture?"


def resident() -> float:
    """MiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def noise(seed: int) -> Image.Image:
    """A picture that was never seen before."""
    return Image.frombytes("RGB", (96, 64), random.Random(seed).randbytes(96 * 64 * 3))


def stopped_after(critic: Critic, request: ScoreRequest, stage: str, delay: float) -> float:
    """Seconds from setting the token, a moment into a stage, to the result."""
    cancel, reached = CancelToken(), threading.Event()

    def listen(event: Event) -> None:
        if stage == "prefill" or (isinstance(event, Progress) and event.stage == stage):
            reached.set()

    critic.forget()
    future = critic.submit(request, on_event=listen, cancel=cancel)
    if stage == "token":
        reached.wait()
    time.sleep(delay)
    started = time.perf_counter()
    cancel.cancel()
    status = future.result().status
    seconds = time.perf_counter() - started
    if status != "cancelled":
        raise SystemExit(f"{stage}: the judgement was over before it could be cancelled")
    return seconds


def cancel_lines(critic: Critic, rounds: int, n_words: int) -> Iterator[str]:
    """A line for each stage."""
    long = ScoreRequest(None, QUESTION, "word " * n_words, rationale=False)
    talking = ScoreRequest(None, QUESTION, "A cat.", max_rationale_tokens=96)
    for stage, request, delay in (("prefill", long, 1.0), ("token", talking, 0.0)):
        took = [stopped_after(critic, request, stage, delay) for _ in range(rounds)]
        median, most = statistics.median(took), max(took)
        yield f"{stage:8} median {1000 * median:.0f} ms, at most {1000 * most:.0f} ms of {rounds}"


def soak_lines(critic: Critic, args: argparse.Namespace) -> Iterator[str]:
    """Resident memory on the way, and a row of a table."""
    until = time.monotonic() + 60 * args.minutes
    early, step, number = 0.0, max(1, args.images // 20), 0
    while number < args.images and not (early and time.monotonic() > until):
        number += 1
        critic.score(noise(number), QUESTION, "A cat.", rationale=False)
        if number % step == 0:
            early = resident() if number == 2 * step else early
            yield f"{number:6} images: {resident():.1f} MiB"
    growth = 100 * (resident() / early - 1)
    yield (
        f"| {critic.profile.name} on {critic.info.engine}, {args.threads} threads "
        f"| {number} of {args.images} | {early:.1f} MiB behind {2 * step}, {resident():.1f} behind "
        f"all | {growth:+.2f}% |"
    )


def close_lines(args: argparse.Namespace) -> Iterator[str]:
    """Resident memory before, with, and without a critic."""
    yield f"before: {resident():.1f} MiB"
    for _ in range(args.rounds):
        with loaded(args) as critic:
            critic.score(noise(0), QUESTION, "A cat.", rationale=False)
            with_it = resident()
        del critic
        gc.collect()
        yield f"with the critic {with_it:.1f} MiB, closed {resident():.1f} MiB"


def loaded(args: argparse.Namespace) -> Critic:
    """The critic to measure."""
    cache = FeatureCache(MIB)
    return Critic.load(args.bundle, backend=args.backend, threads=args.threads, cache=cache)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("cancel", "soak", "close"))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--long", type=int, default=3000, help="words of the long prompt")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end a soak by then")
    parser.add_argument("--bundle")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.what == "close":
        found = close_lines(args)
    else:
        critic = loaded(args)
        sys.stdout.write(f"{critic.profile.name} on {critic.info.engine}\n")
        found = (
            cancel_lines(critic, args.rounds, args.long)
            if args.what == "cancel"
            else soak_lines(critic, args)
        )
    for line in found:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
