"""Fuzzes the server by its own OpenAPI document, with schemathesis.

    python scripts/fuzz_server.py [--examples N] [--minutes M]

The critic is the tests' scripted one, so that it is the server that is tested. Exit status 0 if all
answers were documented ones. docs/server.md has the result of a long run.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "runtime")]

from edgecritic.server import Limits, ServerOptions  # noqa: E402 - by that path
from serving import Running, serving  # noqa: E402 - by that path

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)


def fuzz(running: Running, examples: int, minutes: float | None = None, seed: int = 1) -> int:
    """Run schemathesis against a server; its exit status."""
    command = shutil.which("schemathesis", path=Path(sys.executable).parent)
    if command is None:
        raise SystemExit("schemathesis is not installed: pip install -e '.[dev]'")
    options = ["--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing"]
    options += ["--max-examples", str(examples), "--seed", str(seed)]
    options += ["--suppress-health-check", "all", "--continue-on-failure", "--workers", "2"]
    options += ["--request-timeout", "300"]
    if minutes is not None:
        options += ["--max-time", str(round(minutes * 60))]
    return subprocess.run(
        [command, "run", f"{running.url}/openapi.json", *options], check=False
    ).returncode


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=1000, help="for each operation")
    parser.add_argument("--minutes", type=float, help="fuzz for so long")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with serving(options=ServerOptions(limits=Limits(tokens=16))) as running:
        status = fuzz(running, args.examples, args.minutes, args.seed)
        healthy = running.get("/health").status == 200
        restarts = b"worker_restarts_total{" in running.get("/metrics").content
    print(f"alive afterwards: {healthy}; worker processes lost: {restarts}")
    return status or int(restarts or not healthy)


if __name__ == "__main__":
    sys.exit(main())
