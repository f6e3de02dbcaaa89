"""How many layers go to the GPU: as many as fit into what is free there, their cache included.

llama.cpp counts from the end: the output matrix goes first, then the last layer. What each takes is
read from the files' headers; buffers of computation are estimated from the shapes. libllama does
not export llama.cpp's own fitting, which its command-line tools have.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecritic.backends.llamacpp.artifacts import LanguageModelFacts
from edgecritic.backends.llamacpp.projector_file import ProjectorFacts
from edgecritic.backends.options import CACHE_BYTES, EngineOptions
from edgecritic.errors import BackendUnavailableError
from edgecritic.gguf_header import GgufHeader, read_header

logger = logging.getLogger("edgecritic.engine")

MARGIN: Final = 512 << 20
"""Bytes to leave free on each GPU: for its driver, other programs, and estimates that are low."""

_LAYER: Final = re.compile(r"blk\.(\d+)\.")
_LIVE_ROWS: Final = 6  # rows of n_embd and of n_ff that a layer's graph holds at once
_PIXELS_TO_PATCH_FACTOR: Final = 4  # patches of a picture for each feature, in towers of any size


@dataclass(frozen=True, slots=True)
class Needs:
    """What a critic takes on a GPU, in bytes.

    Attributes:
        layers: weights, adapters, keys and values of each layer, the first one first.
        output: norm and matrix behind the last layer.
        always: what is there as soon as anything is: vision tower and buffers of computation.
    """

    layers: tuple[int, ...]
    output: int
    always: int


@dataclass(frozen=True, slots=True)
class Offload:
    """What goes to the GPU.

    Attributes:
        layers: llama.cpp's ``n_gpu_layers``; -1 for all.
        note: for reports, where it is not all of them.
    """

    layers: int
    note: str = ""

    @property
    def uses_gpu(self) -> bool:
        """Whether anything goes there."""
        return self.layers != 0


ALL: Final = Offload(-1)
NOTHING: Final = Offload(0)


def choose_offload(
    free: Sequence[int] | None,
    language_model: LanguageModelFacts,
    projector: ProjectorFacts | None,
    adapters: Sequence[Path],
    options: EngineOptions,
) -> Offload:
    """Fit a critic into the free memory of the GPUs.

    Args:
        free: bytes of each GPU; where that cannot be known everything goes there.
        language_model: the checked file.
        projector: of the vision tower.
        adapters: LoRA files.
        options: context, batches, device.

    Raises:
        BackendUnavailableError: ``device="gpu"``, and not even the output matrix fits.
    """
    if not free:
        return ALL
    needed = needs(language_model, projector, adapters, options)
    n_parts = layers_that_fit(needed, free)
    if n_parts > len(needed.layers):
        return ALL
    room = sum(free)
    if n_parts == 0 and options.device == "gpu":
        raise BackendUnavailableError(
            f"the GPU has {room / 1e6:,.0f} MB free, and {language_model.path.name} takes at least "
            f"{(needed.always + needed.output + MARGIN) / 1e6:,.0f} MB there",
            "close other programs, lower EngineOptions.n_ctx, or use device='cpu'",
        )
    note = f"{n_parts} of {len(needed.layers) + 1} layers"
    logger.info("%s on the GPU: %s MB are free", note, f"{room / 1e6:,.0f}")
    return Offload(n_parts, note) if n_parts else NOTHING


def layers_that_fit(needed: Needs, free: Sequence[int]) -> int:
    """The output matrix and the last layers, counted, that fit.

    Args:
        needed: by the critic.
        free: bytes of each GPU, among which llama.cpp spreads layers by what each has free.
    """
    usable = [part - MARGIN - needed.always for part in free]
    usable = [part for part in usable if part > 0]
    # A layer is not divided: on every GPU but one, up to one layer's room may stay empty.
    room = sum(usable) - max(0, len(usable) - 1) * max(needed.layers, default=0)
    count = 0
    for part in (needed.output, *reversed(needed.layers)) if usable else ():
        if part > room:
            break
        room -= part
        count += 1
    return count


def needs(
    language_model: LanguageModelFacts,
    projector: ProjectorFacts | None,
    adapters: Sequence[Path],
    options: EngineOptions,
) -> Needs:
    """What a critic takes on a GPU."""
    header = read_header(language_model.path)
    prefix = language_model.architecture
    n_layers = header.count(f"{prefix}.block_count")
    n_head = header.count(f"{prefix}.attention.head_count")
    cell = language_model.cell_values // n_layers * CACHE_BYTES[options.cache_type]
    layers = [cell * options.n_ctx] * n_layers
    for file in (header, *map(read_header, adapters)):
        for name, claim in file.tensors.items():
            if match := _LAYER.match(name):
                layers[int(match[1])] += claim.n_bytes
    head = "output.weight" if "output.weight" in header.tensors else "token_embd.weight"
    output = header.tensor(head).n_bytes + header.tensor("output_norm.weight").n_bytes
    always = _buffers(header, prefix, language_model, n_head, options)
    if projector is not None:
        always += _tower(read_header(projector.path), projector, options)
    return Needs(tuple(layers), output, always)


def _buffers(
    header: GgufHeader,
    prefix: str,
    language_model: LanguageModelFacts,
    n_head: int,
    options: EngineOptions,
) -> int:
    """Of the language model's computation: rows, logits, masks, and the features it reads."""
    rows = min(options.n_ubatch, options.n_batch)
    n_ff = header.count(f"{prefix}.feed_forward_length")
    values = rows * _LIVE_ROWS * (language_model.n_embd + n_ff)
    values += options.max_sequences * language_model.n_vocab
    values += options.n_batch * language_model.n_embd
    values += rows * options.n_ctx * (n_head if options.flash_attention is False else 1)
    return 4 * values


def _tower(header: GgufHeader, projector: ProjectorFacts, options: EngineOptions) -> int:
    """Weights of the vision tower, and what it holds while it encodes."""
    weights = sum(claim.n_bytes for claim in header.tensors.values())
    width = header.count("clip.vision.embedding_length")
    hidden = header.count("clip.vision.feed_forward_length")
    if projector.tile_size is None:
        patches = _PIXELS_TO_PATCH_FACTOR * options.n_ctx
    else:
        patches = math.ceil(projector.tile_size / projector.cell_size) ** 2
    return weights + 4 * patches * _LIVE_ROWS * (width + hidden)
