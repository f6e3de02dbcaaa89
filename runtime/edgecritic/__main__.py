"""``python -m edgecritic``."""

import sys

from edgecritic.cli import main

if __name__ == "__main__":
    sys.exit(main())
