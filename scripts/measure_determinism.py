"""Whether a critic gives one request the same bits, whatever else is asked at the same time.

    python scripts/measure_determinism.py [--rounds 1000] [--requests 1] [--pictures]

Each round asks one of a few fixed requests among others, whose number, content and order are
random, of a critic that was loaded with ``deterministic=True`` and of one that was not. Told are
how often the judgement had the same bits as when that request was asked first; how far the log-odds
of two outcomes were from those; and the CPU time of both critics.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
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
        yield futures[place].result()
        for future in futures:
            future.result()


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


def report(name: str, judgements: list[Judgement], n_requests: int, seconds: float) -> str:
    """One line for one critic."""
    pairs = [
        (judged, judgements[number % n_requests])
        for number, judged in enumerate(judgements)
        if number >= n_requests
    ]
    same = sum(bits(judged) == bits(first) for judged, first in pairs)
    differences = np.concatenate([np.abs(log_odds(one) - log_odds(other)) for one, other in pairs])
    differences = differences[np.isfinite(differences)]
    p95, p99 = np.quantile(differences, (0.95, 0.99)) if len(differences) else (0.0, 0.0)
    return (
        f"{name:13} same bits {same} of {len(pairs)}; log-odds differ by 95%: {p95:.4f}, "
        f"99%: {p99:.4f}, at most {differences.max(initial=0.0):.4f} nat; "
        f"{seconds:.1f} s of CPU time\n"
    )


def main() -> None:
    """Ask, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--default-rounds", type=int, help="of the default critic")
    parser.add_argument("--requests", type=int, default=1, help="different fixed ones, up to 12")
    parser.add_argument("--pictures", action="store_true", help="half of all requests have one")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--bundle")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    image = picture(7) if args.pictures else None
    requests: list[Request] = [
        CompareRequest(image, question, first, second, rationale=False)
        for (first, second), question in product(combinations(ANSWERS, 2), QUESTIONS)
    ][:: len(QUESTIONS) + 1][: args.requests]
    sys.stdout.write(f"{args}\n")
    for deterministic in (True, False):
        rounds = args.rounds if deterministic else args.default_rounds or args.rounds
        rounds += len(requests)  # the first of each is what the others are compared with
        with Critic.load(
            args.bundle, backend=args.backend, threads=args.threads, deterministic=deterministic
        ) as critic:
            if deterministic:
                sys.stdout.write(f"{critic.profile.name} on {critic.info.engine}\n")
            started = time.process_time()
            judgements = list(asked(critic, requests, rounds, args.pictures))
            name = "deterministic" if deterministic else "default"
            sys.stdout.write(report(name, judgements, len(requests), time.process_time() - started))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
