"""What a written token costs beside llama.cpp's own, one of each in turns.

    python scripts/compare_tokens.py BUNDLE [--gpu] [--prompt 300] [--tokens 64] [--rounds 5]

A critic writes reasons, and behind every token of them a plain loop decodes one of its own, in the
same process: whatever slows the machine down slows both. Seconds are those of the clock and those
of the processor in all threads, which others cannot take; with ``--threads 1`` none of the second
are spent waiting. Another state of the runtime is measured by naming its folder in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import replace

os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}  # as the command line does

import numpy as np
from profile_host import TOKEN, WORD, Layers, Plain, Talkative
from profile_tower import head, say

from edgecritic import Progress, ScoreRequest
from edgecritic_bench.speed.tasks import QUESTION

_QUARTILES = (25, 50, 75)


def now() -> tuple[float, float]:
    """The clock's seconds and the processor's."""
    return time.perf_counter(), time.process_time()


def since(begun: tuple[float, float]) -> tuple[float, float]:
    """Milliseconds of both."""
    wall, processor = now()
    return 1000 * (wall - begun[0]), 1000 * (processor - begun[1])


class Turns:
    """Listens to a critic, and lets a plain loop decode a token behind each of its.

    Args:
        plain: the loop.

    Attributes:
        ours: (milliseconds, of the processor) of each token but a text's first.
        plains: the same of the loop's.
    """

    def __init__(self, plain: Plain) -> None:
        self.ours: list[tuple[float, float]] = []
        self.plains: list[tuple[float, float]] = []
        self._plain = plain
        self._begun: tuple[float, float] | None = None

    def begin(self, prompt: int) -> None:
        """Read a prompt in the loop, too, and a token behind it."""
        self._plain.forget()
        self._plain.decode([TOKEN] * prompt)
        self._plain.decode([TOKEN])
        self._begun = None

    def listen(self, event: object) -> None:
        """See `Critic.submit`."""
        if not isinstance(event, Progress) or event.stage != "token":
            return
        ours = None if self._begun is None else since(self._begun)
        begun = now()
        self._plain.decode([TOKEN])
        if ours is not None:
            self.ours.append(ours)
            self.plains.append(since(begun))
        self._begun = now()


def compare(args: argparse.Namespace) -> None:
    """All rounds, and a table."""
    with ExitStack() as closing:
        layers = Layers(args, closing)
        inner, turns = layers.inner, Turns(Plain.alone(layers))
        native = inner._decoder._native
        inner._decoder._native = replace(native, llama=Talkative(native.llama, inner))
        request = ScoreRequest(
            None, QUESTION, WORD * args.prompt, max_rationale_tokens=args.tokens + 2
        )
        for _ in range(args.rounds):
            layers.critic.forget()
            turns.begin(args.prompt)
            layers.critic.submit(request, on_event=turns.listen).result()
        tell(turns)
        sys.stdout.write(f"\n{layers}, {args.threads} threads, {len(turns.ours)} tokens each\n")


def tell(turns: Turns) -> None:
    """Medians, and quartiles of the ratios of neighbours."""
    head(
        "a token",
        *("clock", "ours, ms", "plain, ms", "ours / plain", "quartiles", "more, ms", "quartiles"),
    )
    pairs = zip(np.transpose(turns.ours), np.transpose(turns.plains), strict=True)
    for name, (ours, plain) in zip(("the wall's", "the processor's"), pairs, strict=True):
        low, ratio, high = np.percentile(ours / plain, _QUARTILES)
        least, more, most = np.percentile(ours - plain, _QUARTILES)
        say(
            *(name, f"{np.median(ours):.3f}", f"{np.median(plain):.3f}", f"{ratio:.4f}"),
            *(f"{low:.3f} to {high:.3f}", f"{more:.3f}", f"{least:.3f} to {most:.3f}"),
        )


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", help="folder of a GGUF bundle, or embedded")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=300, help="words")
    parser.add_argument("--tokens", type=int, default=64, help="of a reason")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n-ctx", type=int, default=4096)
    compare(parser.parse_args())
    return 0


if __name__ == "__main__":
    sys.exit(main())
