"""Everything that is timed: the runtime itself, and the other ways to run the same files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from edgecritic_bench.speed.engines.base import Engine, Setup
from edgecritic_bench.speed.engines.generate import Generate
from edgecritic_bench.speed.engines.handler import Handler
from edgecritic_bench.speed.engines.plain import Plain
from edgecritic_bench.speed.engines.runtime import Runtime
from edgecritic_bench.speed.engines.server import Server

__all__ = ["ENGINES", "OURS", "Engine", "Setup"]

ENGINES: Final[Mapping[str, Callable[[Setup], Engine]]] = {
    "edgecritic": partial(Runtime, backend="llamacpp"),
    "edgecritic-onnx": partial(Runtime, backend="onnx"),
    "edgecritic-deterministic": partial(Runtime, backend="llamacpp", deterministic=True),
    "handler": Handler,
    "server": partial(Server, slots=4),
    "server-1": partial(Server, slots=1),
    "generate": partial(Generate, weights="auto"),
    "generate-bf16": partial(Generate, weights="bf16"),
    "generate-nf4": partial(Generate, weights="nf4"),
    "plain": Plain,
}
"""By name. What they need is imported when they start."""

OURS: Final = ("edgecritic", "edgecritic-onnx")
