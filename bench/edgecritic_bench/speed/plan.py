"""What a run consists of, the most telling cells first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from edgecritic import InputError
from edgecritic_bench.speed.engines import ENGINES, OURS, Setup
from edgecritic_bench.speed.tasks import TASKS, Size, Task

Kind: TypeAlias = Literal[
    "task", "rates", "rationales", "determinism", "cancel", "fit", "growth", "limits"
]
CPU_ENGINES: Final = ("edgecritic", "edgecritic-onnx", "handler", "server", "server-1")
GPU_ENGINES: Final = ("edgecritic", "handler", "generate-bf16", "generate-nf4")
CPU_SIZES: Final[tuple[Size, ...]] = ((256, 256),)
GPU_SIZES: Final[tuple[Size, ...]] = ((1920, 1080), (384, 384))
_ONCE: Final = ("unrelated",)
"""Tasks that are long enough to be done once a round."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What is measured beside the tasks, and how much of it.

    Attributes:
        lengths: of prompts to read, in tokens.
        written: tokens to write behind them.
        rationales: reasons written together.
        determinism: requests whose bits are compared.
        cancelled: judgements that are stopped at each stage.
        long: words of the prompt that is stopped.
        delay: seconds until it is.
        responses: at most.
        tiles: of the pictures.
        words: of texts.
    """

    lengths: tuple[int, ...] = (300, 1500)
    written: int = 64
    rationales: int = 20
    determinism: int = 40
    cancelled: int = 3
    long: int = 2500
    delay: float = 0.5
    responses: int = 8
    tiles: tuple[int, ...] = (1, 2, 3, 4, 6, 9, 12, 16)
    words: tuple[int, ...] = (100, 500, 1000, 2000, 3500)


GPU_PARTS: Final = Parts(
    lengths=(1800, 7800), determinism=200, cancelled=5, long=2500, delay=0.4,
    words=(20, 100, 200, 400, 800),
)  # fmt: skip
"""A random 7B has about a token a byte, so a word is five."""


@dataclass(frozen=True, slots=True)
class Options:
    """A run.

    Attributes:
        setup: how engines run.
        engines: that do the tasks, of `ENGINES`.
        tasks: that they do.
        sizes: of the pictures.
        rounds: fresh processes of each engine.
        repeats: of a task in a round.
        count: of unrelated verdicts.
        few: of how many requests an engine is timed that does each by itself.
        parts: the rest.
        only: kinds of cells.
        seconds: after which no cell is begun.
    """

    setup: Setup = field(default_factory=Setup)
    engines: tuple[str, ...] = CPU_ENGINES
    tasks: tuple[Task, ...] = TASKS
    sizes: tuple[Size, ...] = CPU_SIZES
    rounds: int = 2
    repeats: int = 4
    count: int = 100
    few: int = 3
    parts: Parts = field(default_factory=Parts)
    only: tuple[Kind, ...] = ()
    seconds: float = float("inf")

    def __post_init__(self) -> None:
        for engine in self.engines:
            if engine not in ENGINES:
                raise InputError(
                    f"there is no engine {engine!r}", f"known engines: {', '.join(ENGINES)}"
                )

    @property
    def ours(self) -> tuple[str, ...]:
        """Those of the engines that are edgecritic."""
        return tuple(engine for engine in self.engines if engine in OURS)


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing to measure.

    Attributes:
        name: unique in a run.
        kind: what it is.
        round: of its engines' processes.
        values: of its kind.
    """

    name: str
    kind: Kind
    round: int = 0
    values: Mapping[str, object] = field(default_factory=dict)


def cells(options: Options) -> Iterator[Cell]:
    """All cells of a run, in order."""
    for cell in _cells(options):
        if not options.only or cell.kind in options.only:
            yield cell


def _cells(options: Options) -> Iterator[Cell]:
    kinds: tuple[Kind, ...] = ("rates", "rationales")
    for kind in kinds:
        yield Cell(kind, kind)
    yield from _tasks(options, 0, options.sizes)
    kinds = ("limits", "cancel", "fit", "determinism")
    for kind in kinds:
        yield Cell(kind, kind)
    yield from _growth(options)
    for number in range(1, options.rounds):
        yield from _tasks(options, number, options.sizes)


def _tasks(options: Options, number: int, sizes: Sequence[Size]) -> Iterator[Cell]:
    for width, height in sizes:
        for task in options.tasks:
            yield Cell(
                f"task/{task}/{width}x{height}/{number}",
                "task",
                number,
                {
                    "task": task,
                    "size": (width, height),
                    "repeats": 1 if task in _ONCE else options.repeats,
                },
            )


def _growth(options: Options) -> Iterator[Cell]:
    parts, size = options.parts, min(options.sizes)
    for count in range(1, parts.responses + 1):
        yield _grown("responses", size, count)
    for tiles, picture in tile_sizes(options.setup, parts.tiles).items():
        yield _grown("tiles", picture, tiles)
    for words in parts.words:
        yield _grown("text", size, words)


def _grown(kind: str, size: Size, value: int) -> Cell:
    return Cell(
        f"growth/{kind}/{value}", "growth", values={"kind": kind, "size": size, "value": value}
    )


def tile_sizes(setup: Setup, counts: Collection[int]) -> dict[int, Size]:
    """The picture that takes exactly so many tiles, as square as there is one.

    Args:
        setup: names the bundle.
        counts: of tiles; those that the critic never cuts a picture into are left out.
    """
    geometry = setup.bundle().manifest.image
    pinpoints: Sequence[tuple[int, int]] = getattr(geometry, "pinpoints", ())
    side = getattr(geometry, "tile_size", 1)
    found: dict[int, Size] = {}
    for height, width in sorted(pinpoints, key=lambda p: abs(p[0] - p[1])):
        count = (height // side) * (width // side)
        if count in counts:
            found.setdefault(count, (width, height))
    return dict(sorted(found.items()))


def default_rows(page: Path) -> Path:
    """Where a page's rows are kept when nothing else is said."""
    return page.with_suffix(".jsonl")
