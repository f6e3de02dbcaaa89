"""``edgecritic train launch-config``: where the settings for several GPUs lie."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.resources import files


def launch_configs() -> dict[str, str]:
    """Name to path of the settings that ship for ``accelerate launch --config_file``."""
    folder = files("edgecritic_train.tuning") / "launch"
    return {
        path.name.removesuffix(".yaml"): str(path) for path in sorted(folder.iterdir(), key=str)
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    known = launch_configs()
    parser = argparse.ArgumentParser(
        prog="edgecritic train launch-config",
        description="Prints the path of a settings file for accelerate launch --config_file.",
    )
    parser.add_argument("name", choices=known, metavar="NAME", help=", ".join(known))
    sys.stdout.write(f"{known[parser.parse_args(argv).name]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
