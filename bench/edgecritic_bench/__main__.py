"""``python -m edgecritic_bench``."""

import sys

from edgecritic_bench.cli import run

sys.exit(run(sys.argv[1:]))
