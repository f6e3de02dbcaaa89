"""What a critic will take on this machine, computed from its files and from short measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, cast, get_args

from edgecritic.backends import ENGINES, prepare
from edgecritic.backends.options import EngineOptions
from edgecritic.backends.threads import default_threads
from edgecritic.bundle import Bundle
from edgecritic.errors import InputError, MissingExtraError
from edgecritic.fit.calibration import EngineCosts, EngineName
from edgecritic.fit.duration import seconds
from edgecritic.fit.gguf import GgufFiles, gguf_costs
from edgecritic.fit.onnx import onnx_costs
from edgecritic.fit.parts import Costs
from edgecritic.fit.workload import Workload
from edgecritic.progress import Tell

_MANY: Final = 1 << 20  # pictures: more than any bound is reached by
_EXTRAS: Final[dict[EngineName, str]] = {"llamacpp": "llama", "inferna": "inferna", "onnx": "onnx"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a critic will take.

    Attributes:
        critic: its name.
        engine: that runs it.
        disk: bytes of its files.
        ram: bytes of main memory by what they are for, at the peak of judging.
        vram: bytes of a GPU's memory, likewise; empty where none is used.
        ram_peak: the most bytes of main memory at once, loading included.
        ram_later: the same once many pictures were judged: what was computed for them is kept for
            further questions, up to a bound.
        seconds: of all judgements together, without reasons; None on a GPU, which is not measured.
        judgements: verdicts that are read.
        image_tokens: of the picture.
        tokens: computed in all.
    """

    critic: str
    engine: str
    disk: int
    ram: Mapping[str, int]
    vram: Mapping[str, int]
    ram_peak: int
    ram_later: int
    seconds: float | None
    judgements: int
    image_tokens: int
    tokens: int

    @property
    def vram_peak(self) -> int:
        """Bytes of a GPU's memory."""
        return sum(self.vram.values())

    def to_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return {
            "critic": self.critic,
            "engine": self.engine,
            "disk_bytes": self.disk,
            "ram_bytes": self.ram_peak,
            "ram_later_bytes": self.ram_later,
            "vram_bytes": self.vram_peak,
            "seconds": self.seconds,
            "seconds_per_judgement": None
            if self.seconds is None
            else self.seconds / self.judgements,
            "judgements": self.judgements,
            "image_tokens": self.image_tokens,
            "tokens": self.tokens,
            "ram": dict(self.ram),
            "vram": dict(self.vram),
        }


def estimate(
    bundle: Bundle,
    workload: Workload | None = None,
    *,
    backend: str = "auto",
    options: EngineOptions | None = None,
    on_gpu: bool = False,
    tell: Tell = lambda line: None,
) -> Estimate:
    """What a bundle will take; its files must be there, and only their headers are read.

    Args:
        bundle: of the critic.
        workload: what is judged.
        backend: as for `Critic.load`.
        options: as the engine would get them; of the bundle's own context when left out.
        on_gpu: all layers lie on a GPU (llama.cpp only; computed, not measured).
        tell: is told what is measured, which is done once for each kind of weights.

    Raises:
        InputError: the engine is none that estimates are made for, or the context is larger than
            the bundle's or too small for the workload.
        ArtifactError: a file is missing or damaged.
        BackendUnavailableError: the engine is not installed.
    """
    workload = workload or Workload()
    options = options or EngineOptions(n_ctx=bundle.manifest.n_ctx)
    chosen, bundle = prepare(bundle, backend, "gpu" if on_gpu else options.device, tell)
    engine = _engine_name(chosen)
    if on_gpu and ENGINES[chosen].format != "gguf":
        raise InputError(
            f"what {chosen} takes of a GPU's memory is not known",
            "leave out --gpu, or estimate for backend llamacpp",
        )
    if not ENGINES[chosen].is_installed:
        raise MissingExtraError(
            f"the engine {chosen} is not installed", f"pip install 'edgecritic[{_EXTRAS[engine]}]'"
        )
    picture = workload.picture(bundle.manifest.image)
    _check_fit(workload.longest(picture.tokens), bundle.context(options.n_ctx))
    known = EngineCosts(engine, options.n_threads or default_threads(), tell)

    def costs_of(workload: Workload) -> Costs:
        if chosen != "onnx":
            files = _gguf_files(bundle)
            return gguf_costs(files, options, workload, picture, known.of, on_gpu=on_gpu)
        from edgecritic.backends.onnx import OnnxFiles

        return onnx_costs(OnnxFiles.of(bundle), options, workload, picture, known.of)

    costs = costs_of(workload)
    return Estimate(
        critic=bundle.name,
        engine=chosen,
        disk=sum(file.size for file in bundle.manifest.files),
        ram=costs.ram,
        vram=costs.vram,
        ram_peak=costs.ram_peak,
        ram_later=costs_of(replace(workload, pictures=_MANY)).ram_peak,
        seconds=None
        if on_gpu
        else seconds(costs.work, workload, picture, known.pace, known.pictures()),
        judgements=workload.judgements,
        image_tokens=picture.tokens,
        tokens=workload.tokens(picture.tokens),
    )


def _check_fit(n_tokens: int, n_ctx: int) -> None:
    if n_tokens > n_ctx:
        raise InputError(
            f"a prompt of this workload has {n_tokens} tokens, and the context has {n_ctx}",
            "shorten the responses, use fewer image tiles, or give a larger n_ctx",
        )


def _engine_name(name: str) -> EngineName:
    for known in get_args(EngineName):
        if name == known:
            return cast(EngineName, known)
    raise InputError(
        f"there is no estimate for the engine {name}",
        f"estimates are made for {', '.join(get_args(EngineName))}",
    )


def _gguf_files(bundle: Bundle) -> GgufFiles:
    manifest = bundle.manifest
    return GgufFiles(
        bundle.file("language_model"),
        None if manifest.image is None else bundle.file("mmproj"),
        tuple(bundle.verified(file) for file in manifest.having("adapter")),
    )
