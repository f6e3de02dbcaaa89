"""Freezes the sidecar with PyInstaller, and prints what it weighs and how soon it judges.

    python scripts/measure_frozen.py [--runs 5] [--keep FOLDER]

Needs PyInstaller, and the embedded critic's language model in the cache. The verdict is one of the
embedded critic on a picture of its demo, asked of a server that has just started; the same sidecar
is run by Python beside it.
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
from collections.abc import Mapping, Sequence
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


def measure(program: Sequence[str]) -> Run:
    """Start the sidecar, ask for one comparison, end it."""
    started = time.perf_counter()
    command = [*program, "serve", "--port", "0", "--parent-pid", str(os.getpid())]
    environment = os.environ | {"PYTHONPATH": str(RUNTIME)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as sidecar:
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


def sizes(shipped: Path) -> str:
    """What the frozen folder weighs, as a table."""
    inside = shipped / "_internal"
    parts = {name: inside / name for name in ("edgecritic", "llama_cpp", "numpy", "numpy.libs")}
    rows = {"the whole folder": shipped, **{f"of which {name}": at for name, at in parts.items()}}
    lines = [f"| {name} | {weigh(path) / 1e6:.0f} MB |" for name, path in rows.items()]
    return "\n".join(["| | |", "| :--- | ---: |", *lines, ""])


def times(runs: Mapping[str, Sequence[Run]]) -> str:
    """How soon each judges, as a table: median (least to most)."""
    lines = [
        "| | ready to answer | first verdict, with loading the model |",
        "| :--- | ---: | ---: |",
    ]
    for name, of_one in runs.items():
        cells = [_spread([run.ready for run in of_one]), _spread([run.verdict for run in of_one])]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _spread(seconds: Sequence[float]) -> str:
    middle = statistics.median(seconds)
    return f"{middle:.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"


def main() -> int:
    """Build, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="put the frozen folder there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        shipped = build(Path(temporary))
        programs = {
            "frozen": [str(shipped / "edgecritic")],
            "by Python": [sys.executable, "-m", "edgecritic"],
        }
        runs: dict[str, list[Run]] = {name: [] for name in programs}
        for _ in range(args.runs):  # by turns, so that both meet the same machine
            for name, program in programs.items():
                runs[name].append(measure(program))
        sys.stdout.write(f"{sizes(shipped)}\n{times(runs)}")
        if args.keep is not None:
            shutil.copytree(shipped, args.keep, symlinks=True)
    if any(run.winner != "first" for run in runs["frozen"]):
        sys.stderr.write("the frozen critic judges wrongly\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
