"""``edgecritic train rounds``: iterative preference learning from a critic's rankings."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from edgecritic_train.rounds.config import read_rounds
from edgecritic_train.rounds.run import run_rounds
from edgecritic_train.tuning.sft import build_parser, told


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = build_parser(
        "rounds", "A policy answers, a critic ranks its answers, the policy learns; several times."
    )
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    out = run_rounds(read_rounds(options.config, options.assignments), told)
    sys.stdout.write(f"{out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
