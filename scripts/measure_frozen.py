"""Freezes the sidecar with PyInstaller, runs it, and prints what it weighs and how soon it judges.

    python scripts/measure_frozen.py [--runs 5] [--keep FOLDER]

Needs PyInstaller, and the embedded critic's language model in the cache. The verdict is one of the
embedded critic on a picture of its demo, asked of a server that has just started.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RUNTIME = ROOT / "runtime"
ENTRY = ROOT / "examples" / "frozen" / "edgecritic_sidecar.py"
SEVEN = RUNTIME / "edgecritic" / "demo_images" / "seven.png"
COMMAND = [
    *("--onedir", "--name", "edgecritic", "--noconfirm", "--log-level", "ERROR"),
    # An editable installation does not say where its hooks are.
    *("--paths", str(RUNTIME)),
    *("--additional-hooks-dir", str(RUNTIME / "edgecritic" / "_pyinstaller")),
]


@dataclass(frozen=True, slots=True)
class Run:
    """One life of the sidecar, in seconds since it was started."""

    ready: float
    verdict: float
    winner: str


def build(folder: Path) -> Path:
    """Freeze into `folder`; the folder that an app would ship."""
    places = ("--distpath", folder / "dist", "--workpath", folder / "work", "--specpath", folder)
    command = [sys.executable, "-m", "PyInstaller", *COMMAND, *map(str, places), str(ENTRY)]
    environment = os.environ | {"PYTHONPATH": str(RUNTIME)}
    subprocess.run(command, env=environment, check=True)
    return folder / "dist" / "edgecritic"


def measure(program: Path) -> Run:
    """Start the sidecar, ask for one comparison, end it."""
    started = time.perf_counter()
    command = [str(program), "serve", "--port", "0", "--parent-pid", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sidecar:
        try:
            ready = json.loads(next(iter(sidecar.stdout or ())))
            seconds = time.perf_counter() - started
            preference = _compare(ready)
            return Run(seconds, time.perf_counter() - started, preference["winner"])
        finally:
            sidecar.terminate()


def _compare(ready: dict[str, Any]) -> Any:
    picture = base64.b64encode(SEVEN.read_bytes()).decode()
    body = {
        "image": f"data:image/png;base64,{picture}",
        "question": "Which digit is this?",
        "first": "It is a 7.",
        "second": "It is a 1.",
        "rationale": False,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{ready['port']}/v1/judge/compare",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {ready['token']}"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310 - our own server
        return json.load(answer)


def weigh(folder: Path) -> int:
    """Bytes of all files, each once: libraries are linked to from where others look for them."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


def table(shipped: Path, runs: list[Run]) -> str:
    """What to put into the docs."""
    inside = shipped / "_internal"
    parts = {name: inside / name for name in ("edgecritic", "llama_cpp", "numpy", "numpy.libs")}
    rows = [("the whole folder", f"{weigh(shipped) / 1e6:.0f} MB")]
    rows += [(f"of which {name}", f"{weigh(path) / 1e6:.0f} MB") for name, path in parts.items()]
    for name, values in (
        ("ready to answer", [run.ready for run in runs]),
        ("first verdict, with loading the model", [run.verdict for run in runs]),
    ):
        middle = statistics.median(values)
        rows.append((name, f"{middle:.1f} s ({min(values):.1f} to {max(values):.1f})"))
    lines = ["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join([*lines, ""])


def main() -> int:
    """Build, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="put the frozen folder there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        shipped = build(Path(temporary))
        runs = [measure(shipped / "edgecritic") for _ in range(args.runs)]
        sys.stdout.write(table(shipped, runs))
        if args.keep is not None:
            shutil.copytree(shipped, args.keep, symlinks=True)
    if any(run.winner != "first" for run in runs):
        sys.stderr.write("the frozen critic judges wrongly\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
