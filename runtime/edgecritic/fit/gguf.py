"""What a critic in GGUF takes under llama.cpp, from its files' headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

from edgecritic.backends.options import EngineOptions
from edgecritic.fit.parts import Costs, Probe, picture_bytes
from edgecritic.fit.workload import Picture, Workload
from edgecritic.gguf_header import GgufHeader, read_header

_CELLS: Final = 256  # llama.cpp rounds the context up to a multiple of these
_CACHE_BYTES: Final = {"F16": 2, "F32": 4}
_FLOATS: Final = ("F32", "F16", "BF16")
_EMBEDDINGS: Final = "token_embd.weight"


@dataclass(frozen=True, slots=True)
class GgufFiles:
    """Files of a critic.

    Attributes:
        language_model: GGUF.
        mmproj: of a critic that sees.
        adapters: LoRA.
    """

    language_model: Path
    mmproj: Path | None
    adapters: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class LanguageModelShape:
    """Numbers of a language model's header."""

    n_layers: int
    n_embd: int
    n_ff: int
    n_kv: int
    n_vocab: int

    @classmethod
    def of(cls, header: GgufHeader) -> LanguageModelShape:
        """Read them.

        Raises:
            ArtifactError: one is missing or out of range.
        """
        kind = header.text("general.architecture")
        n_embd = header.count(f"{kind}.embedding_length")
        n_head = header.count(f"{kind}.attention.head_count")
        n_head_kv = header.count(f"{kind}.attention.head_count_kv", default=n_head)
        return cls(
            n_layers=header.count(f"{kind}.block_count"),
            n_embd=n_embd,
            n_ff=header.count(f"{kind}.feed_forward_length"),
            n_kv=n_embd // n_head * n_head_kv,
            n_vocab=header.tensor(_EMBEDDINGS).shape[1],
        )


def gguf_costs(
    files: GgufFiles,
    options: EngineOptions,
    workload: Workload,
    picture: Picture,
    probe: Callable[[str], Probe],
    *,
    on_gpu: bool = False,
) -> Costs:
    """What a critic takes.

    Args:
        files: of the critic.
        options: it is loaded with.
        workload: what is judged.
        picture: what the picture becomes.
        probe: what weights of a tensor type cost here.
        on_gpu: all layers lie on a GPU.

    Raises:
        ArtifactError: a file is none of what it should be.
    """
    header = read_header(files.language_model)
    shape = LanguageModelShape.of(header)
    typical = probe(_main_type(header))
    cells = -(-options.n_ctx // _CELLS) * _CELLS
    batch = min(options.n_ubatch, options.n_batch)
    mask = 2 * cells * batch
    engine = {
        "language model": files.language_model.stat().st_size,
        "weights rearranged for this CPU": 0 if on_gpu else _rearranged(header, probe),
        # llama.cpp reads adapters and vision towers, it maps language models only.
        "adapters": sum(map(_tensor_bytes, files.adapters)),
        "vision tower": 0 if files.mmproj is None else _tensor_bytes(files.mmproj),
        "keys and values": 2
        * shape.n_layers
        * cells
        * shape.n_kv
        * _CACHE_BYTES[options.cache_type],
        # In a graph of ggml at most so many activations live at once: llama.cpp logs its size.
        "computation": mask
        + 4 * batch * (4 * shape.n_embd + 3 * shape.n_ff)
        + _tower_activations(files.mmproj, picture),
    }
    host = {
        "Python and llama.cpp": typical.base,
        "vocabulary": int(typical.word * shape.n_vocab),
        "logits": 4 * shape.n_vocab * options.max_sequences,
        "picture and its features": picture_bytes(workload, picture, shape.n_embd)
        + 4 * options.n_batch * shape.n_embd,
    }
    products = _products(header, files, workload, picture)
    if not on_gpu:
        return Costs(ram={**host, **engine}, products=products)
    # The table of token embeddings stays in main memory; a tied head is copied to the GPU.
    table = header.tensor(_EMBEDDINGS).n_bytes
    return Costs(ram={**host, "token embeddings": table}, vram=engine, products=products)


def _main_type(header: GgufHeader) -> str:
    """The tensor type of most of its matrices."""
    matrices = [claim for claim in header.tensors.values() if len(claim.shape) == 2]
    inner = [claim.type_name for claim in matrices if claim.name != _EMBEDDINGS]
    return Counter(inner or [claim.type_name for claim in matrices]).most_common(1)[0][0]


def _rearranged(header: GgufHeader, probe: Callable[[str], Probe]) -> int:
    """Weights that lie in memory a second time."""
    return sum(
        int(claim.n_bytes * (probe(claim.type_name).resident - 1))
        for claim in header.tensors.values()
        if len(claim.shape) == 2 and claim.name != _EMBEDDINGS and claim.type_name not in _FLOATS
    )


def _tensor_bytes(path: Path) -> int:
    return sum(claim.n_bytes for claim in read_header(path).tensors.values())


def _tower_activations(mmproj: Path | None, picture: Picture) -> int:
    if mmproj is None or not picture.tiles:
        return 0
    header = read_header(mmproj)
    width = header.count("clip.vision.embedding_length")
    hidden = header.count("clip.vision.feed_forward_length")
    return 4 * _patches(header, picture) * (3 * width + hidden)


def _patches(header: GgufHeader, picture: Picture) -> int:
    patch = header.count("clip.vision.patch_size")
    return (picture.tile[0] // patch) * (picture.tile[1] // patch)


def _products(
    header: GgufHeader, files: GgufFiles, workload: Workload, picture: Picture
) -> dict[str, int]:
    """Multiplications by tensor type; attention's count as F16."""
    tokens = workload.tokens(picture.tokens)
    found: Counter[str] = Counter()
    for claim in header.tensors.values():
        if len(claim.shape) == 2 and claim.name.startswith("blk."):
            found[claim.type_name] += tokens * prod(claim.shape)
    for adapter in files.adapters:
        for claim in read_header(adapter).tensors.values():
            found[claim.type_name] += tokens * prod(claim.shape)
    shape = LanguageModelShape.of(header)
    head = shape.n_vocab * shape.n_embd * workload.judgements
    output = header.tensors.get("output.weight", header.tensor(_EMBEDDINGS))
    found[output.type_name] += head
    attended = tokens * workload.longest(picture.tokens) // 2
    found["F16"] += 2 * attended * shape.n_layers * shape.n_embd
    if files.mmproj is not None and picture.tiles:
        tower = read_header(files.mmproj)
        patches = _patches(tower, picture)
        for claim in tower.tensors.values():
            if len(claim.shape) == 2 and "position" not in claim.name:
                found[claim.type_name] += picture.tiles * patches * prod(claim.shape)
    return dict(found)
