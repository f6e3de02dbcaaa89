"""Prints the README's table of installed sizes: run it with the environment's own Python."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PACKAGES = (
    "numpy",
    "pillow",
    "platformdirs",
    "onnxruntime",
    "flatbuffers",
    "packaging",
    "protobuf",
    "tokenizers",
    "huggingface-hub",
    "hf-xet",
    "click",
    "tqdm",
    "pyyaml",
    "fsspec",
    "filelock",
    "httpx2",
    "httpcore2",
    "h11",
    "anyio",
    "idna",
    "truststore",
    "typing-extensions",
    "inferna",
    "llama-cpp-python",
    "diskcache",
    "jinja2",
    "markupsafe",
)


def megabytes(package: str) -> float:
    """Size of a package's files, compiled Python files not counted, in MB."""
    files = distribution(package).files or []
    paths = {Path(file.locate()).resolve() for file in files if file.suffix != ".pyc"}
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def main() -> None:
    """Print one row for each package that is installed."""
    for package in PACKAGES:
        try:
            version = distribution(package).version
        except PackageNotFoundError:
            continue
        sys.stdout.write(f"| {package} {version} | {megabytes(package):.1f} MB |\n")


if __name__ == "__main__":
    main()
