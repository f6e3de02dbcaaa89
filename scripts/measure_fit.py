"""How well `edgecritic models estimate` predicts memory and time: bundles x sizes x responses.

    python scripts/measure_fit.py BUNDLE[:ENGINE] ... --out docs/fit.md

Each cell loads the bundle in a fresh process and judges some pictures of the size; what it took at
its peak, and the last one's time, stand beside what was estimated before anything was loaded. In a
page with the mark (docs/fit.md) what stands behind it is replaced; any other file is made.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}  # as the command line does

import numpy as np
from PIL import Image

from edgecritic import Bundle, Critic
from edgecritic.backends.options import EngineOptions
from edgecritic.fit.estimate import Estimate, estimate
from edgecritic.fit.process import peak
from edgecritic.fit.workload import Workload
from edgecritic_bench.provenance import Provenance

SIZES = ("256x256", "640x480", "1920x1080")
QUESTION = "How many apples are on the table?"
MARK = "<!-- measured -->"
PACKAGES = ("edgecritic", "llama-cpp-python", "onnxruntime", "numpy", "pillow")


@dataclass(frozen=True, slots=True)
class Cell:
    """One estimate and what it turned out to be.

    Attributes:
        name: of the bundle.
        size: of the pictures.
        responses: that were judged.
        estimated: before.
        peak: bytes.
        seconds: of the last picture.
    """

    name: str
    size: tuple[int, int]
    responses: int
    estimated: Estimate
    peak: int
    seconds: float

    @property
    def memory_error(self) -> float:
        """Of the estimate, as a share of what was measured; negative where it was too low."""
        return self.estimated.ram_peak / self.peak - 1


def judge(
    folder: str, engine: str, pictures: Sequence[Path], responses: int, threads: int
) -> tuple[int, float]:
    """Peak bytes of a process that judges all pictures, and seconds of the last one."""
    bundle = None if folder == "embedded" else folder
    texts = [f"There are {n} apples on the table, and {n + 1} pears." for n in range(responses)]
    seconds = 0.0
    with Critic.load(bundle, backend=engine, device="cpu", threads=threads) as critic:
        for picture in pictures:
            begun = time.perf_counter()
            if responses == 1:
                critic.score(picture, QUESTION, texts[0], rationale=False)
            else:
                critic.rank(picture, QUESTION, texts)
            seconds = time.perf_counter() - begun
        return peak(), seconds


def measure(
    folders: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    responses: Sequence[int],
    n_pictures: int,
    threads: int,
) -> Iterator[Cell]:
    """All cells."""
    for named in folders:
        folder, _, engine = named.partition(":")
        backend = engine or "auto"
        bundle = Bundle.embedded() if folder == "embedded" else Bundle.read(folder)
        for size in sizes:
            with tempfile.TemporaryDirectory() as made:
                pictures = [_picture(Path(made) / f"{n}.png", size, n) for n in range(n_pictures)]
                for count in responses:
                    workload = Workload(size, count, 14, pictures=n_pictures)
                    options = EngineOptions(bundle.manifest.n_ctx, threads, "cpu")
                    found = estimate(bundle, workload, backend=backend, options=options, tell=_talk)
                    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                        run = pool.submit(judge, folder, found.engine, pictures, count, threads)
                        most, seconds = run.result()
                    name = f"{found.engine} {Path(folder).name}"
                    cell = Cell(name, size, count, found, most, seconds)
                    told = f"{found.seconds:.2f} s told, {seconds:.2f} s taken"
                    _talk(f"{name} {size} {count}: {cell.memory_error:+.1%}, {told}")
                    yield cell


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def _picture(path: Path, size: tuple[int, int], seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def table(cells: Sequence[Cell]) -> Iterator[str]:
    """The cells in Markdown, and what they come to."""
    yield (
        "| bundle | picture | responses | peak estimated, MiB | measured | error "
        "| seconds estimated | measured |"
    )
    yield "| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for cell in cells:
        width, height = cell.size
        yield (
            f"| {cell.name} | {width}x{height} | {cell.responses} "
            f"| {cell.estimated.ram_peak / 2**20:,.0f} | {cell.peak / 2**20:,.0f} "
            f"| {cell.memory_error:+.1%} "
            f"| {cell.estimated.seconds:.2f} | {cell.seconds:.2f} |"
        )
    errors = [cell.memory_error for cell in cells]
    ratios = [(cell.estimated.seconds or 0.0) / cell.seconds for cell in cells]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    yield ""
    yield (
        f"Memory, {len(cells)} cells: the median of the absolute errors is "
        f"{statistics.median(map(abs, errors)):.1%}; the lowest estimate is {min(errors):+.1%}, "
        f"the highest {max(errors):+.1%}. Time: estimated by measured has the median "
        f"{middle:.2f} and the quartiles {low:.2f} and {high:.2f}."
    )


def write(path: Path, lines: Sequence[str]) -> None:
    """Replace what stands behind a page's mark, or make a file."""
    text = "\n".join(lines) + "\n"
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if MARK in page:
        text = f"{page.split(MARK)[0]}{MARK}\n\n{text}"
    path.write_text(text, encoding="utf-8")


def _talk(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", help="folders, or embedded; :ENGINE chooses")
    parser.add_argument("--responses", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WxH")
    parser.add_argument("--pictures", type=int, default=2, help="judged in each cell")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    made = Provenance.here(sys.argv[1:], PACKAGES)
    cells: list[Cell] = []
    sizes = [_size(text) for text in args.sizes]
    for cell in measure(args.bundles, sizes, args.responses, args.pictures, args.threads):
        cells.append(cell)
        lines = [
            *table(cells),
            "",
            f"{made.machine}; {made.system}; {made.versions_text}; {made.date}.",
        ]
        write(args.out, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
