"""What a critic in ONNX takes under ONNX Runtime, from its files' headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Final

from edgecritic.backends.onnx.artifacts import DecoderFacts, check_decoder
from edgecritic.backends.onnx.engine import OnnxFiles
from edgecritic.backends.onnx.header import OnnxHeader, read_header
from edgecritic.backends.onnx.memory import allocated
from edgecritic.backends.options import EngineOptions
from edgecritic.fit.duration import Work
from edgecritic.fit.pace import LayerShape
from edgecritic.fit.parts import Costs, Probe, picture_bytes
from edgecritic.fit.workload import Picture, Workload

_BYTES: Final = {"float32": 4, "float16": 2}
_BITS_OF_CODES: Final = {16: "int4", 32: "int8"}  # bytes of a block of 32 weights
_PRECISIONS: Final = ("int4", "int8", "fp32")
_PAGE: Final = 4096
_TABLE: Final = "table"
"""Weights that are looked up or copied as they are, not multiplied with."""


@dataclass(slots=True)
class _Weights:
    """Weights of one file by kind: bytes in the file, and multiplications for a token.

    Attributes:
        stored: bytes.
        products: multiplications for a token.
        mapped: bytes of all kinds in files of their own, of which only what is read is loaded.
        largest: bytes of the largest one.
    """

    stored: Counter[str] = field(default_factory=Counter)
    products: Counter[str] = field(default_factory=Counter)
    mapped: int = 0
    largest: int = 0

    @classmethod
    def of(cls, path: Path, external: tuple[Path, ...] = ()) -> _Weights:
        header = read_header(path)
        data = sum(file.stat().st_size for file in external if file.name in header.external)
        found = cls(mapped=data)
        for operator in header.operators:
            found._add(header, operator.name, operator.inputs)
        found._store(_TABLE, max(0, path.stat().st_size + data - found.stored.total()))
        return found

    def _store(self, kind: str, size: int) -> None:
        self.stored[kind] += size
        self.largest = max(self.largest, size)

    def _add(self, header: OnnxHeader, operator: str, inputs: tuple[str, ...]) -> None:
        shapes = [header.initializers.get(name) for name in inputs]
        if operator == "com.microsoft:MatMulNBits" and shapes[1] and len(shapes[1]) == 3:
            kind = _BITS_OF_CODES.get(shapes[1][2], "int4")
            blocks = prod(shapes[1][:2])
            self._store(kind, prod(shapes[1]) + 4 * blocks)
            self.products[kind] += 32 * blocks
        elif operator in ("MatMul", "Gemm") and shapes[1] and len(shapes[1]) == 2:
            self._store("fp32", 4 * prod(shapes[1]))
            self.products["fp32"] += prod(shapes[1])
        elif operator == "Cast" and shapes[0] and len(shapes[0]) == 2:
            # Made float32 once, while the model is loaded, and multiplied with as such.
            self._store("fp16", 2 * prod(shapes[0]))
            self.products["fp32"] += prod(shapes[0])


def onnx_costs(
    files: OnnxFiles,
    options: EngineOptions,
    workload: Workload,
    picture: Picture,
    probe: Callable[[str], Probe],
) -> Costs:
    """What a critic takes on a CPU.

    Args:
        files: of the critic.
        options: it is loaded with.
        workload: what is judged.
        picture: what the picture becomes.
        probe: what weights of a precision cost here.

    Raises:
        ArtifactError: a file is none of what it should be.
    """
    facts = check_decoder(files.decoder, files.external_data)
    decoder = _Weights.of(files.decoder, files.external_data)
    table = _Weights.of(files.embed_tokens, files.external_data)
    towers = [] if files.vision_encoder is None else [files.vision_encoder]
    tower = [_Weights.of(path, files.external_data) for path in towers]
    cell = 2 * facts.n_layers * facts.n_heads * facts.head_dim * _BYTES[facts.cache]
    main = probe(_main_kind(decoder))
    laid = workload.longest(picture.tokens)
    if facts.branches:  # all answers to a picture lie among each other
        laid = max(laid, min(options.n_ctx, workload.tokens(picture.tokens)))
    aside = max(0, workload.kept(picture.tokens, options.n_ctx) - laid)
    ram = {
        "Python and ONNX Runtime": main.base,
        "vocabulary": int(main.word * facts.n_vocab),
        "decoder": _resident(decoder, probe),
        "token embeddings": _table(table, facts, workload.tokens(picture.tokens)),
        "vision tower": sum(_resident(part, probe) for part in tower),
        "keys and values": cell * allocated(laid, options.n_ctx),
        "keys and values put aside": cell * aside,
        "computation": _activations(facts, decoder, min(options.n_batch, laid)),
        "picture and its features": picture_bytes(workload, picture, facts.n_embd),
    }
    # In the order in which they are opened.
    opened = [
        (ram["decoder"], _opening(decoder, probe)),
        *((_resident(part, probe), _opening(part, probe)) for part in tower),
        (ram["token embeddings"], 0 if table.mapped else _opening(table, probe)),
    ]
    held = ram["Python and ONNX Runtime"] + ram["vocabulary"]
    loading = 0
    for resident, more in opened:
        held += resident
        loading = max(loading, held + more)
    patches = _patches(files) if picture.tiles else 0
    return Costs(ram, _work(facts, decoder, tower, patches, options.n_batch), loading=loading)


def _main_kind(weights: _Weights) -> str:
    kinds = [(size, kind) for kind, size in weights.stored.items() if kind != _TABLE]
    return max(kinds)[1] if kinds else "fp32"


def _resident(weights: _Weights, probe: Callable[[str], Probe]) -> int:
    return sum(
        size if kind == _TABLE else int(size * probe(kind).resident)
        for kind, size in weights.stored.items()
    )


def _table(table: _Weights, facts: DecoderFacts, n_tokens: int) -> int:
    """Of the token embeddings: all of them, or the pages of those that are read."""
    size = table.stored.total()
    pages = n_tokens * (_PAGE + size // max(1, facts.n_vocab))
    return size - table.mapped + min(table.mapped, pages)


def _opening(weights: _Weights, probe: Callable[[str], Probe]) -> int:
    """More than what stays, while a file is opened.

    Where weights are changed, what they were until all are; of the largest one a copy while it is
    packed, and another one while it is parsed, unless it is mapped.
    """
    changed = sum(
        int(size * max(0.0, probe(kind).loading - probe(kind).resident))
        for kind, size in weights.stored.items()
        if kind != _TABLE
    )
    return changed + weights.largest * (1 if weights.mapped else 2)


def _work(
    facts: DecoderFacts,
    decoder: _Weights,
    tower: Sequence[_Weights],
    patches: int,
    n_batch: int,
) -> Work:
    head = facts.n_vocab * facts.n_embd
    inner = max(1, (decoder.products.total() - head) // facts.n_layers)
    n_head = facts.n_embd // facts.head_dim
    attention = 2 * (n_head + facts.n_heads) * facts.head_dim
    layer = LayerShape(
        facts.n_embd,
        max(1, inner // facts.n_embd - attention) // 3,
        n_head,
        facts.n_heads,
        facts.head_dim,
        (),
    )
    counted = decoder.products.copy()
    counted[_head_kind(decoder)] -= head
    kinds = {kind: count for kind, count in counted.items() if count > 0}
    return Work(
        layers={
            replace(layer, types=(kind,)): count / (inner or 1) for kind, count in kinds.items()
        },
        n_vocab=facts.n_vocab,
        tower=sum(part.products.total() for part in tower),
        patches=patches,
        tower_layer=replace(layer, types=("fp32",)),
        n_batch=n_batch,
        together=facts.branches,
        apart=False,
    )


def _head_kind(decoder: _Weights) -> str:
    """Of the output matrix, which is never stored in less than eight bits where layers are."""
    return max(decoder.products, key=_PRECISIONS.index)


def _activations(facts: DecoderFacts, decoder: _Weights, batch: int) -> int:
    """Of one layer at once, twice: ONNX Runtime's arena takes powers of two."""
    inner = decoder.products.total() // max(1, facts.n_layers * facts.n_embd)
    return 2 * 4 * batch * (inner + 4 * facts.n_embd)


def _patches(files: OnnxFiles) -> int:
    """Of one tile, by the vision encoder's own output."""
    assert files.vision_encoder is not None  # noqa: S101 - there is a picture
    ((_, features),) = read_header(files.vision_encoder).outputs.items()
    return features.shape[1] or 0
