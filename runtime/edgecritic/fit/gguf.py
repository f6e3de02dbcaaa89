"""What a critic in GGUF takes under llama.cpp, from its files' headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Final

from edgecritic.backends.options import CACHE_BYTES, EngineOptions
from edgecritic.fit.duration import Work
from edgecritic.fit.pace import N_MATRICES, LayerShape
from edgecritic.fit.parts import Costs, Probe, picture_bytes
from edgecritic.fit.workload import Picture, Workload
from edgecritic.gguf_header import GgufHeader, read_header

_CELLS: Final = 256  # llama.cpp rounds the context up to a multiple of these
_FLOATS: Final = ("F32", "F16", "BF16")
_EMBEDDINGS: Final = "token_embd.weight"
_KINDS: Final = 3


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
    n_head: int
    n_head_kv: int
    n_vocab: int

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.n_embd // self.n_head

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
            n_head=n_head,
            n_head_kv=n_head_kv,
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
        * shape.n_head_kv
        * shape.head_dim
        * CACHE_BYTES[options.cache_type],
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
    work = _work(header, shape, files, options, picture)
    if not on_gpu:
        return Costs({**host, **engine}, work)
    # The table of token embeddings stays in main memory; a tied head is copied to the GPU.
    table = header.tensor(_EMBEDDINGS).n_bytes
    return Costs({**host, "token embeddings": table}, work, vram=engine)


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


def _work(
    header: GgufHeader,
    shape: LanguageModelShape,
    files: GgufFiles,
    options: EngineOptions,
    picture: Picture,
) -> Work:
    plain = LayerShape(
        shape.n_embd,
        shape.n_ff,
        shape.n_head,
        shape.n_head_kv,
        shape.head_dim,
        (),
        tuple(one for path in files.adapters for one in _ranks(read_header(path))),
    )
    found = Counter(
        tuple(header.tensor(f"blk.{index}.{name}.weight").type_name for name in plain.matrices)
        for index in range(shape.n_layers)
    )
    # Of a mix with many kinds of layers the rare ones take the time of the most frequent.
    kinds = dict(found.most_common(_KINDS))
    kinds[found.most_common(1)[0][0]] += shape.n_layers - sum(kinds.values())
    tower = None if files.mmproj is None else read_header(files.mmproj)
    stored = "F16" if tower is None else _main_type(tower)
    return Work(
        layers={replace(plain, types=types): count for types, count in kinds.items()},
        n_vocab=shape.n_vocab,
        tower=0 if tower is None else _tower_products(tower),
        patches=_patches(tower, picture) if tower is not None and picture.tiles else 0,
        tower_layer=replace(plain, types=(stored,) * N_MATRICES, adapter=()),
        n_batch=options.n_batch,
        together=True,
        apart=True,
    )


def _ranks(adapter: GgufHeader) -> Iterator[tuple[str, int, str]]:
    """Of the first layer: which matrices, how many ranks, how they are stored."""
    for claim in adapter.tensors.values():
        prefix, _, part = claim.name.rpartition(".weight.")
        if prefix.startswith("blk.0.") and part == "lora_a":
            yield prefix.removeprefix("blk.0."), claim.shape[1], claim.type_name


def _tower_products(tower: GgufHeader) -> int:
    """Multiplications for a patch."""
    return sum(
        prod(claim.shape)
        for claim in tower.tensors.values()
        if len(claim.shape) == 2 and "position" not in claim.name
    )
