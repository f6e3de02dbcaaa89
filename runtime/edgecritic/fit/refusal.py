"""Refusing what cannot fit before it costs anything, and naming what would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import Bundle
from edgecritic.errors import DoesNotFitError
from edgecritic.fit.gguf import GgufFiles, gguf_costs
from edgecritic.fit.machine import Machine, free_disk
from edgecritic.fit.parts import Probe
from edgecritic.fit.workload import Workload
from edgecritic.manifest import FORMATS, BundleFile, Format, Manifest

BITS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "F32": 32.0,
        "F16": 16.0,
        "BF16": 16.0,
        "Q8_0": 8.5,
        "Q6_K": 6.6,
        "Q5_K_M": 5.7,
        "Q4_K_M": 4.9,
        "Q4_1": 5.0,
        "Q4_0": 4.6,
        "IQ4_XS": 4.4,
        "Q3_K_M": 4.0,
        "Q2_K": 3.2,
    }
)
"""Bits of a weight in a 7B of each quant type, mixes included, largest first but for Q4_1."""
_LADDER: Final = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
_NOTHING: Final = Probe(base=0, word=0.0, resident=1.0, loading=1.0)


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
        DoesNotFitError: it cannot fit; the hint names the largest quant type that can.
        ArtifactError: a file is missing or damaged.
    """
    machine = machine or Machine.here(ask_gpu=options.device == "gpu")
    on_gpu = options.device == "gpu" and machine.vram is not None
    weights = _weights(bundle.manifest, _format(engine))
    needed = weights - (_looked_up(bundle.manifest) if _format(engine) == "onnx" else 0)
    if _format(engine) == "gguf":
        manifest = bundle.manifest
        files = GgufFiles(
            bundle.file("language_model"),
            None if manifest.image is None else bundle.file("mmproj"),
            tuple(bundle.verified(file) for file in manifest.having("adapter")),
        )
        workload = Workload(image_size=None)
        picture = workload.picture(None)
        costs = gguf_costs(files, options, workload, picture, lambda kind: _NOTHING, on_gpu=on_gpu)
        needed = sum((costs.vram if on_gpu else costs.ram).values())
    kind = "of the GPU's memory" if on_gpu else "of main memory"
    free = machine.vram if on_gpu else machine.ram
    for room, what in ((budget, "its budget is {}"), (free, "{} are free")):
        if room is not None and needed > room:
            told = f"{kind}, and {what.format(gigabytes(room))}"
            raise _does_not_fit(bundle.manifest, needed, room, told, needed - weights)
    return needed


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
    needed = min(_weights(manifest, name) for name in manifest.formats)
    if rooms and needed > max(rooms):
        told = f"of memory, and {gigabytes(max(rooms))} are free"
        raise _does_not_fit(manifest, needed, max(rooms), told, 0)


_FORCE: Final = "or insist with --force (force=True)"


def gigabytes(n_bytes: float) -> str:
    """``1.25 GB``, and megabytes below one."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _does_not_fit(
    manifest: Manifest, needed: int, room: int, told: str, rest: int
) -> DoesNotFitError:
    message = f"{manifest.name}-{manifest.version} takes at least {gigabytes(needed)} {told}"
    fitting = largest_quant(manifest, room - rest)
    if fitting is None:
        instead = "no quant type of it is small enough: use a smaller critic, or a remote one"
    else:
        instead = f"the largest quant type that fits is {fitting}: use a bundle of that type"
    return DoesNotFitError(message, f"{instead}; {_FORCE}")


def largest_quant(manifest: Manifest, room: int) -> str | None:
    """The largest quant type in which a critic's weights take at most `room` bytes.

    None where not even the smallest does, or the bundle does not tell its own type.
    """
    models = manifest.having("language_model") or manifest.having("decoder")
    bits = BITS.get(models[0].quant) if models else None
    if bits is None:
        return None
    others = _weights(manifest, manifest.formats[0]) - models[0].size
    sizes = ((quant, models[0].size * BITS[quant] / bits + others) for quant in _LADDER)
    return next((quant for quant, size in sizes if size <= room), None)


def _weights(manifest: Manifest, name: Format) -> int:
    return sum(file.size for file in weights_of(manifest, name))


def _looked_up(manifest: Manifest) -> int:
    """Bytes of token embeddings in a file of their own: it is mapped, and few rows are read."""
    graphs = {f"{file.path}_data" for file in manifest.having("embed_tokens")}
    return sum(file.size for file in manifest.having("external_data") if file.path in graphs)


def weights_of(manifest: Manifest, name: Format) -> list[BundleFile]:
    """Files of a format that hold weights."""
    roles = set(FORMATS[name].roles) - {"tokenizer", "config"}
    return [file for file in manifest.files if file.role in roles]


def _format(engine: str) -> Format:
    from edgecritic.backends import ENGINES

    return ENGINES[engine].format
