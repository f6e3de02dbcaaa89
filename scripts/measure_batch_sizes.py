"""What a critic on llama.cpp takes with other numbers of positions computed at once.

    python scripts/measure_batch_sizes.py BUNDLE --gpu --sizes 512 1024 2048 512/2048

A size is the positions computed at once; behind a slash, those handed over in one call where they
are more. For each the median seconds of one verdict, its picture apart, and of 20 ordered pairs are
printed, every one about a new picture.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from statistics import median

os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}  # as the command line does

from edgecritic import Bundle, CompareRequest, Critic, CriticError
from edgecritic.backends import load_backend
from edgecritic.backends.options import EngineOptions
from edgecritic.profile import CriticProfile
from edgecritic_bench.speed.cli import picture_size
from edgecritic_bench.speed.tasks import PAIRS, QUESTION, RESPONSES, default_picture, new_picture


def batch_size(text: str) -> tuple[int, int]:
    """``COMPUTED`` or ``COMPUTED/HANDED``."""
    computed, _, handed = text.partition("/")
    return int(computed), int(handed or computed)


def measured(bundle: Bundle, options: EngineOptions, size: tuple[int, int], rounds: int) -> str:
    """One line of the table; the first round warms up."""
    base = default_picture(size)
    took: list[tuple[float, float, float]] = []
    engine = load_backend(bundle, "llamacpp", options)
    with Critic(engine, CriticProfile.of(bundle, "gguf")) as critic:
        for number in range(2, 2 * (rounds + 2), 2):
            picture = new_picture(base, number)
            verdict = critic.score(picture, QUESTION, RESPONSES[0], rationale=False)
            picture = new_picture(base, number + 1)
            requests = [
                CompareRequest(picture, QUESTION, *pair, orders="given", rationale=False)
                for pair in PAIRS
            ]
            started = time.perf_counter()
            for future in critic.submit_many(requests):
                future.result()
            pairs = time.perf_counter() - started
            took.append((verdict.timings.image, verdict.timings.verdict, pairs))
    image, prompt, pairs = (median(column) for column in zip(*took[1:], strict=True))
    batch = f"{options.n_ubatch} of {options.n_batch}"
    return f"| {batch} | {image:.3f} | {prompt:.3f} | {pairs:.3f} |"


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", help="folder, or embedded")
    parser.add_argument("--sizes", type=batch_size, nargs="+", default=[(512, 512), (1024, 1024)])
    parser.add_argument("--picture", type=picture_size, default=(1920, 1080), metavar="WxH")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    bundle = Bundle.embedded() if args.bundle == "embedded" else Bundle.read(args.bundle)
    sys.stdout.write("| positions at once | picture, s | prompt, s | 20 pairs, s |\n")
    sys.stdout.write("| :--- | ---: | ---: | ---: |\n")
    for computed, handed in args.sizes:
        options = EngineOptions(
            n_ctx=bundle.manifest.n_ctx,
            n_threads=args.threads,
            device="gpu" if args.gpu else "cpu",
            n_batch=handed,
            n_ubatch=computed,
        )
        try:
            line = measured(bundle, options, args.picture, args.rounds)
        except CriticError as error:
            line = f"| {computed} of {handed} | {error.message} | | |"
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
