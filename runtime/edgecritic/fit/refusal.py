"""Refusing what cannot fit before it costs anything, and naming what would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

from edgecritic.backends.options import EngineOptions, Weights
from edgecritic.bundle import Bundle
from edgecritic.errors import DoesNotFitError
from edgecritic.fit.gguf import GgufFiles, gguf_costs
from edgecritic.fit.machine import Machine, free_disk
from edgecritic.fit.parts import Probe
from edgecritic.fit.quants import largest_quant, looked_up_size, type_of, weights_size
from edgecritic.fit.workload import Workload
from edgecritic.manifest import Format, Manifest

_NOTHING: Final = Probe(base=0, word=0.0, resident=1.0, loading=1.0)
_BITS: Final[Mapping[Weights, float]] = MappingProxyType(
    {"fp32": 32.0, "bf16": 16.0, "fp16": 16.0, "int8": 8.0, "int4": 4.0}
)
"""Of a weight that transformers loads so, at least."""
_DTYPES: Final[Mapping[object, float]] = MappingProxyType({"bfloat16": 16.0, "float16": 16.0})
_MOST_BITS: Final = 32.0
_FORCE: Final = "or insist with --force (force=True)"


def refuse_what_cannot_fit(
    bundle: Bundle,
    engine: str,
    options: EngineOptions,
    machine: Machine | None = None,
    *,
    budget: int | None = None,
) -> int:
    """Refuse to load a critic that the memory which is free, or a budget, cannot hold.

    Counts only what is certain: weights, keys and values, activations. Nothing is measured.

    Args:
        bundle: of the critic.
        engine: that shall run it.
        options: it shall be loaded with.
        machine: this one, when left out.
        budget: bytes that it may take; all that are free, when left out.

    Returns:
        Bytes that it takes for certain.

    Raises:
        DoesNotFitError: it cannot fit; the hint names the largest quant type that can, by the
            name that its bundles have.
        ArtifactError: a file is missing or damaged.
    """
    machine = machine or Machine.here(ask_gpu=options.device != "cpu")
    manifest, name = bundle.manifest, _format(engine)
    share = 1.0
    if name == "hf" and options.weights != "auto":
        share = _BITS[options.weights] / _stored_bits(bundle)
    needed = certain = _least(manifest, name, share)
    if name == "gguf":
        files = GgufFiles(
            bundle.file("language_model"),
            None if manifest.image is None else bundle.file("mmproj"),
            tuple(bundle.verified(file) for file in manifest.having("adapter")),
        )
        workload = Workload(image_size=None)
        picture = workload.picture(None)
        costs = gguf_costs(files, options, workload, picture, lambda kind: _NOTHING)
        needed = sum(costs.ram.values())
    free, kind = _room(machine, engine, options)
    for room, what in ((budget, "its budget is {}"), (free, "{} are free")):
        if room is not None and needed > room:
            told = f"{kind}, and {what.format(gigabytes(room))}"
            raise _does_not_fit(manifest, name, needed, told, room - (needed - certain))
    return needed


def _room(machine: Machine, engine: str, options: EngineOptions) -> tuple[int | None, str]:
    """Bytes that a critic may take together, and where; None where the system does not tell."""
    ram, vram = machine.ram, machine.vram
    if ram is None or vram is None or options.device == "cpu":
        return ram, "of main memory"
    if _format(engine) == "gguf":
        # llama.cpp puts as many layers on the GPU as fit there, and keeps the others.
        both = _offloads(engine)
        return (ram + vram, "of main memory and the GPU's") if both else (ram, "of main memory")
    if options.device == "gpu" or vram > ram:
        return vram, "of the GPU's memory"
    return ram, "of main memory"


def _offloads(engine: str) -> bool:
    """Whether a llama.cpp was built for a GPU."""
    from edgecritic.backends.llamacpp.native import load_native

    native = load_native("inferna" if engine == "inferna" else "llama-cpp-python")
    return bool(native.llama.llama_supports_gpu_offload())


def _stored_bits(bundle: Bundle) -> float:
    """Of a weight in a checkpoint of transformers, at most."""
    from edgecritic.backends.hf.artifacts import CONFIG
    from edgecritic.backends.tokens import read_settings

    for file in bundle.manifest.having("config"):
        if PurePosixPath(file.path).name == CONFIG:
            settings = read_settings(bundle.verified(file))
            return _DTYPES.get(settings.get("dtype", settings.get("torch_dtype")), _MOST_BITS)
    return _MOST_BITS


def refuse_to_store(
    manifest: Manifest, missing: int, folder: Path, machine: Machine | None = None
) -> None:
    """Refuse to fetch what the disk has no room for, or what this machine could never load.

    Args:
        manifest: of the bundle.
        missing: bytes that would be fetched.
        folder: where to.
        machine: this one, when left out.

    Raises:
        DoesNotFitError: it cannot fit.
    """
    free = free_disk(folder)
    if missing > free:
        raise DoesNotFitError(
            f"{manifest.name} takes {gigabytes(missing)} on disk, and {folder} has "
            f"{gigabytes(free)} free",
            f"free some space, or name another folder in EDGECRITIC_HOME; {_FORCE}",
        )
    machine = machine or Machine.here()
    rooms = [room for room in (machine.ram_total, machine.vram) if room is not None]
    share = _BITS["int4"] / _MOST_BITS
    sizes = {name: _least(manifest, name, share) for name in manifest.formats}
    smallest = min(manifest.formats, key=lambda name: sizes[name])
    needed = sizes[smallest]
    if rooms and needed > max(rooms):
        told = f"of memory, and {gigabytes(max(rooms))} are free"
        raise _does_not_fit(manifest, smallest, needed, told, max(rooms))


def gigabytes(n_bytes: float) -> str:
    """``1.25 GB``, and megabytes below one."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _least(manifest: Manifest, name: Format, share: float) -> int:
    """Bytes that a critic's weights take for certain.

    Args:
        manifest: of the bundle.
        name: its format that is loaded.
        share: of their bits that transformers loads, which alone rounds them itself.
    """
    size = weights_size(manifest, name)
    if name == "onnx":
        size -= looked_up_size(manifest)
    return int(size * share) if name == "hf" else size


def _does_not_fit(
    manifest: Manifest, name: Format, needed: int, told: str, room: int
) -> DoesNotFitError:
    message = f"{manifest.name}-{manifest.version} takes at least {gigabytes(needed)} {told}"
    return DoesNotFitError(message, f"{_instead(manifest, name, room)}; {_FORCE}")


def _instead(manifest: Manifest, name: Format, room: int) -> str:
    """What to load whose weights take at most `room` bytes."""
    smaller = "use a smaller critic, or a remote one"
    if name == "hf":
        size = weights_size(manifest, name) / 16  # as checkpoints are published
        for kind in ("int8", "int4"):
            if size * _BITS[kind] <= room:
                return f"load its weights as {kind} (weights={kind!r})"
        return f"no precision of its weights is small enough: {smaller}"
    if name == "onnx":
        room += looked_up_size(manifest)
    if fitting := largest_quant(manifest, name, room):
        return f"the largest quant type that fits is {fitting}: use a bundle of that type"
    if type_of(manifest, name) is None:
        return f"use a bundle of a smaller quant type: {manifest.name} does not tell its own"
    return f"no quant type of it is small enough: {smaller}"


def _format(engine: str) -> Format:
    from edgecritic.backends import ENGINES

    return ENGINES[engine].format
