"""Whether a critic gives one request the same bits, whatever else is asked at the same time.

    python scripts/measure_determinism.py [--rounds 1000] [--minutes 30] [--requests 1] [--pictures]

Each round asks one of a few fixed requests among others, whose number, content and order are
random, of a critic that was loaded with ``deterministic=True`` and of one that was not. Told are
how often the judgement had the same bits as when that request was asked first; how far the log-odds
of two outcomes were from those; and the CPU time of both critics. What is known so far is printed
every half minute, and a row of a table at the end, also where ``--minutes`` end it early: three
quarters of them are the deterministic critic's.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgecritic import CompareRequest, Critic, Preference, ScoreRequest, Verdict

Request: TypeAlias = ScoreRequest | CompareRequest
Judgement: TypeAlias = Verdict | Preference
QUESTIONS = ("How many?", "Which colour is it?", "What does the sign say?", "Is it left or right?")
ANSWERS = ("two", "It is red.", "a blue square", "left", "seven, I think", "nothing that I can see")
LIKELY = 1e-3
TOLD_EVERY = 30.0
HEAD = (
    "| critic | requests | same bits: deterministic | same bits: default "
    "| log-odds of the default: 99%, most | CPU time, deterministic to default |\n"
    "|---|---|---|---|---|---|\n"
)


def picture(seed: int) -> Image.Image:
    """A drawing of some coloured shapes."""
    draw_from = random.Random(seed)
    image = Image.new("RGB", (192, 192), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        x, y = draw_from.randrange(130), draw_from.randrange(130)
        draw.ellipse((x, y, x + 50, y + 50), fill=draw_from.choice(("red", "blue", "green")))
    return image


def company(choose: random.Random, pictures: bool) -> Request:
    """Another request."""
    image = picture(choose.randrange(3)) if pictures and choose.random() < 0.5 else None
    question = choose.choice(QUESTIONS)
    if choose.random() < 0.5:
        return ScoreRequest(image, question, choose.choice(ANSWERS), rationale=False)
    return CompareRequest(image, question, *choose.sample(ANSWERS, 2), rationale=False)


def asked(
    critic: Critic, requests: Sequence[Request], rounds: int, pictures: bool
) -> Iterator[Judgement]:
    """The judgement of a fixed request in each round, of one after the other."""
    choose = random.Random(0)
    for number in range(rounds):
        request = requests[number % len(requests)]
        others = [company(choose, pictures) for _ in range(choose.randrange(3))]
        place = choose.randrange(len(others) + 1)
        futures = critic.submit_many([*others[:place], request, *others[place:]])
        for future in futures:
            future.result()
        yield futures[place].result()


def log_odds(judged: Judgement) -> NDArray[np.float64]:
    """(pairs of outcomes,) by both orders or by levels."""
    if judged.status == "cancelled":
        raise SystemExit("the request was not judged")
    logs = [math.log(p) if p > LIKELY else math.nan for p in judged.probabilities.values()]
    return np.array([a - b for a, b in combinations(logs, 2)])


def bits(judged: Judgement) -> object:
    """All numbers of a judgement that come from logits."""
    if isinstance(judged, Verdict):
        return judged.probabilities, judged.mass
    return judged.probabilities, [(order.probabilities, order.mass) for order in judged.orders]


@dataclass
class Tally:
    """What came of one critic's rounds.

    Attributes:
        name: of the critic.
        first: the judgement of each request that the others are compared with.
        same: rounds whose judgement had the same bits.
        rounds: all that were compared.
        apart: how far log-odds were from the first ones.
        seconds: of CPU time.
    """

    name: str
    first: list[Judgement] = field(default_factory=list)
    same: int = 0
    rounds: int = 0
    apart: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, judged: Judgement, n_requests: int) -> None:
        """Count one more."""
        if len(self.first) < n_requests:
            self.first.append(judged)
            return
        first = self.first[self.rounds % n_requests]
        self.rounds += 1
        self.same += bits(judged) == bits(first)
        apart = np.abs(log_odds(judged) - log_odds(first))
        self.apart += apart[np.isfinite(apart)].tolist()

    def line(self) -> str:
        """What is known so far."""
        p95, p99 = np.quantile(self.apart, (0.95, 0.99)) if self.apart else (0.0, 0.0)
        return (
            f"{self.name}: same bits {self.same} of {self.rounds}; log-odds differ by 95%: "
            f"{p95:.4f}, 99%: {p99:.4f}, at most {max(self.apart, default=0.0):.4f} nat; "
            f"{self.seconds:.1f} s of CPU time\n"
        )


def tally(name: str, args: argparse.Namespace, until: float) -> tuple[Tally, str]:
    """Ask one critic until the rounds or the time are over; also tells who it was."""
    image = picture(7) if args.pictures else None
    requests: Sequence[Request] = [
        CompareRequest(image, question, first, second, rationale=False)
        for (first, second), question in product(combinations(ANSWERS, 2), QUESTIONS)
    ][:: len(QUESTIONS) + 1][: args.requests]
    alone = name == "deterministic"
    rounds = args.rounds if alone else args.default_rounds or args.rounds
    found, told = Tally(name), time.monotonic()
    critic = Critic.load(
        args.bundle, backend=args.backend, threads=args.threads, deterministic=alone
    )
    with critic:
        who = f"{critic.profile.name} on {critic.info.engine}"
        started = time.process_time()
        for judged in asked(critic, requests, rounds + len(requests), args.pictures):
            found.add(judged, len(requests))
            found.seconds = time.process_time() - started
            now = time.monotonic()
            if now > told + TOLD_EVERY:
                told = now
                sys.stdout.write(found.line())
                sys.stdout.flush()
            if now > until and found.rounds:
                break
    sys.stdout.write(found.line())
    return found, who


def row(who: str, args: argparse.Namespace, alone: Tally, mixed: Tally) -> str:
    """The line of the table."""
    p99 = np.quantile(mixed.apart, 0.99) if mixed.apart else 0.0
    kind = f"{args.requests} {'with pictures' if args.pictures else 'of text'}"
    ratio = (alone.seconds / alone.rounds) / (mixed.seconds / mixed.rounds)
    return (
        f"| {who}, {args.threads} threads | {kind} | {alone.same} of {alone.rounds} "
        f"| {mixed.same} of {mixed.rounds} | {p99:.4f}, {max(mixed.apart, default=0.0):.4f} nat "
        f"| {ratio:.2f} |\n"
    )


def main() -> None:
    """Ask, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--default-rounds", type=int, help="of the default critic")
    parser.add_argument("--minutes", type=float, default=math.inf, help="end by then")
    parser.add_argument("--requests", type=int, default=1, help="different fixed ones, up to 12")
    parser.add_argument("--pictures", action="store_true", help="half of all requests have one")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--bundle")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    begun = time.monotonic()
    alone, who = tally("deterministic", args, begun + 45 * args.minutes)
    mixed, _ = tally("default", args, begun + 60 * args.minutes)
    sys.stdout.write(HEAD + row(who, args, alone, mixed))


if __name__ == "__main__":
    main()
