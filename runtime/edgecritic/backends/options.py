"""How an engine shall run: context, threads, device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from edgecritic.errors import InputError

Device: TypeAlias = Literal["auto", "cpu", "gpu"]
CacheType: TypeAlias = Literal["F16", "F32"]
Weights: TypeAlias = Literal["auto", "fp32", "bf16", "fp16", "int8", "int4"]

DEVICES: Final[tuple[Device, ...]] = ("auto", "cpu", "gpu")
CACHE_TYPES: Final[tuple[CacheType, ...]] = ("F16", "F32")
CACHE_BYTES: Final[Mapping[CacheType, int]] = MappingProxyType({"F16": 2, "F32": 4})
WEIGHTS: Final[tuple[Weights, ...]] = ("auto", "fp32", "bf16", "fp16", "int8", "int4")
MAX_SEQUENCES: Final = 256  # LLAMA_MAX_SEQ in libllama 0.5


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Settings of a local engine.

    What an engine has no use for it leaves alone, but for `weights`: an engine whose files have
    their precision refuses all but ``"auto"``.

    Attributes:
        n_ctx: KV cells shared by all sequences, in tokens; an engine may round it up.
        n_threads: threads of computation, or None for the physical cores this process may use.
        device: ``"auto"`` takes a GPU where the engine was built for one, ``"gpu"`` insists.
        n_batch: positions handed to the engine in one call; also how often it is asked to stop.
        n_ubatch: positions computed at once.
        max_sequences: sequences that may be open at once.
        flash_attention: None leaves the choice to the engine.
        cache_type: how keys and values are stored; ``"F32"`` takes twice the memory and is for
            comparisons with a full-precision reference. Flash attention computes in F16
            whatever is stored, so such comparisons switch it off. Of llama.cpp; the other
            engines store what their model computes.
        weights: how the hf engine holds the language model: ``"auto"`` as it is stored,
            ``"int8"`` and ``"int4"`` by bitsandbytes.

    Raises:
        InputError: a value is out of range.
    """

    n_ctx: int = 4096
    n_threads: int | None = None
    device: Device = "auto"
    n_batch: int = 512
    n_ubatch: int = 512
    max_sequences: int = 32
    flash_attention: bool | None = None
    cache_type: CacheType = "F16"
    weights: Weights = "auto"

    def __post_init__(self) -> None:
        for name, value, limit in (
            ("n_ctx", self.n_ctx, 1 << 20),
            ("n_threads", 1 if self.n_threads is None else self.n_threads, 1024),
            ("n_batch", self.n_batch, 1 << 14),
            ("n_ubatch", self.n_ubatch, 1 << 14),
            ("max_sequences", self.max_sequences, MAX_SEQUENCES),
        ):
            if not 1 <= value <= limit:
                raise InputError(f"{name} is {value}", f"give {name} from 1 to {limit}")
        for name, choice, choices in (
            ("device", self.device, DEVICES),
            ("cache_type", self.cache_type, CACHE_TYPES),
            ("weights", self.weights, WEIGHTS),
        ):
            if choice not in choices:
                raise InputError(f"{name} is {choice!r}", f"give one of {', '.join(choices)}")
