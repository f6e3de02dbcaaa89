"""Whether a critic gives one request the same bits, whatever else is asked at the same time.

    python scripts/measure_determinism.py [--rounds 1000] [--pictures] [--backend llamacpp]

Each round asks one fixed request among others, whose number, content and order are random, of a
critic that was loaded with ``deterministic=True`` and of one that was not. Told are how often the
judgement had the same bits as in the first round; how far the log-odds of two outcomes, for the
default critic, were from those in the first round; and the CPU time of both.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Iterator
from itertools import combinations
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


def asked(critic: Critic, request: Request, rounds: int, pictures: bool) -> Iterator[Judgement]:
    """The request's judgement in each round."""
    choose = random.Random(0)
    for _ in range(rounds):
        others = [company(choose, pictures) for _ in range(choose.randrange(3))]
        place = choose.randrange(len(others) + 1)
        futures = critic.submit_many([*others[:place], request, *others[place:]])
        yield futures[place].result()
        for future in futures:
            future.result()


def log_odds(judged: Judgement) -> NDArray[np.float64]:
    """(pairs of outcomes,) by both orders or by levels."""
    if judged.status != "ok":
        raise SystemExit("the request was not judged")
    logs = [math.log(p) if p > LIKELY else math.nan for p in judged.probabilities.values()]
    return np.array([a - b for a, b in combinations(logs, 2)])


def report(name: str, judgements: list[Judgement], seconds: float) -> str:
    """One line for one critic."""
    first = judgements[0]
    bits = [judged.probabilities == first.probabilities for judged in judgements]
    differences = np.concatenate(
        [np.abs(log_odds(judged) - log_odds(first)) for judged in judgements]
    )
    differences = differences[np.isfinite(differences)]
    p95, p99 = np.quantile(differences, (0.95, 0.99))
    return (
        f"{name:13} same bits {sum(bits)} of {len(bits)}; log-odds differ by 95%: {p95:.4f}, "
        f"99%: {p99:.4f}, at most {differences.max():.4f} nat; {seconds:.1f} s of CPU time\n"
    )


def main() -> None:
    """Ask, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--default-rounds", type=int, help="of the default critic")
    parser.add_argument("--pictures", action="store_true", help="half of all requests have one")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--bundle")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    image = picture(7) if args.pictures else None
    request = CompareRequest(image, "How many?", "two", "three", rationale=False)
    sys.stdout.write(f"{args}\n")
    for deterministic in (True, False):
        rounds = args.rounds if deterministic else args.default_rounds or args.rounds
        with Critic.load(
            args.bundle, backend=args.backend, threads=args.threads, deterministic=deterministic
        ) as critic:
            if deterministic:
                sys.stdout.write(f"{critic.profile.name} on {critic.info.engine}\n")
            started = time.process_time()
            judgements = list(asked(critic, request, rounds, args.pictures))
            name = "deterministic" if deterministic else "default"
            sys.stdout.write(report(name, judgements, time.process_time() - started))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
