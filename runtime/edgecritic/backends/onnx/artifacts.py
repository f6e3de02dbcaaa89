"""What each ONNX file must look like before ONNX Runtime may open it, and what they say together.

The layout is transformers.js': the decoder reads embeddings, an attention mask and each layer's
past keys and values, and gives logits and what the past has become. Its attention must be
GroupQueryAttention, the one operator that extends a past in place.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecritic.backends.onnx.header import OnnxHeader, Port, read_header
from edgecritic.errors import ArtifactError, shown
from edgecritic.vision.geometry import ImageGeometry

ATTENTION: Final = "com.microsoft:GroupQueryAttention"
_COSINES: Final = 7  # input of GroupQueryAttention: (positions, head_dim / 2)
_FLOATS: Final = ("float32", "float16")
_REQUIRED: Final = frozenset({"inputs_embeds", "attention_mask"})
_OPTIONAL: Final = frozenset({"position_ids", "num_logits_to_keep", "attention_bias"})
_PAST: Final = re.compile(r"past_key_values\.(\d{1,4})\.(key|value)")
_HINT: Final = "export the critic again with edgecritic_export"
_WRONG_FILE: Final = "check the bundle's files: this one has another role"


@dataclass(frozen=True, slots=True)
class DecoderFacts:
    """What a decoder's graph says.

    Attributes:
        path: the file.
        n_layers: of the language model.
        n_heads: of keys and values.
        head_dim: width of one of them.
        n_embd: width of the embeddings.
        n_vocab: length of a logits row.
        n_positions: positions that it can rotate; None where its attention does not rotate.
        cache: element type of keys and values.
        embeddings: element type of ``inputs_embeds``.
        takes_positions: it wants ``position_ids``.
        keeps_logits: it can leave out the logits of earlier positions.
        branches: it takes a bias of scores, and so computes cells of several sequences at once.
    """

    path: Path
    n_layers: int
    n_heads: int
    head_dim: int
    n_embd: int
    n_vocab: int
    n_positions: int | None
    cache: str
    embeddings: str
    takes_positions: bool
    keeps_logits: bool
    branches: bool

    @property
    def cell_bytes(self) -> int:
        """Keys and values of one position."""
        size = 2 if self.cache == "float16" else 4
        return 2 * self.n_layers * self.n_heads * self.head_dim * size


@dataclass(frozen=True, slots=True)
class TowerFacts:
    """What a vision encoder's graph says: side of a tile in pixels, type of pixels."""

    path: Path
    pixels: str


def check_decoder(path: Path, external: Collection[Path] = ()) -> DecoderFacts:
    """Check a decoder.

    Args:
        path: the file.
        external: files that it may read weights from.

    Raises:
        ArtifactError: it is none, has another interface, or reads other files.
    """
    header = _read(path, external)
    if not header.inputs.keys() >= _REQUIRED:
        raise ArtifactError(
            f"{path} is no decoder: it reads {shown(sorted(header.inputs))}", _WRONG_FILE
        )
    n_layers = _count_layers(header)
    past = {f"past_key_values.{k}.{part}" for k in range(n_layers) for part in ("key", "value")}
    if unknown := header.inputs.keys() - past - _REQUIRED - _OPTIONAL:
        raise ArtifactError(f"{path} wants the input {shown(min(unknown))}", _HINT)
    first = header.inputs["past_key_values.0.key"]
    for name in sorted(past):
        present = name.replace("past_key_values", "present")
        _expect(header, name, header.inputs.get(name), first)
        _expect(header, present, header.outputs.get(present), first)
    if len(first.shape) != 4 or not first.shape[1] or not first.shape[3]:
        raise ArtifactError(
            f"{path}: keys have the shape {first.shape}, not (1, heads, positions, width)", _HINT
        )
    embeddings = header.inputs["inputs_embeds"]
    return DecoderFacts(
        path,
        n_layers=n_layers,
        n_heads=first.shape[1],
        head_dim=first.shape[3],
        n_embd=_width(header, "inputs_embeds", embeddings),
        n_vocab=_width(header, "logits", header.outputs.get("logits")),
        n_positions=_check_attention(header, n_layers),
        cache=_float(header, "past_key_values", first),
        embeddings=_float(header, "inputs_embeds", embeddings),
        takes_positions="position_ids" in header.inputs,
        keeps_logits="num_logits_to_keep" in header.inputs,
        branches=_check_bias(header),
    )


def check_embed_tokens(path: Path, decoder: DecoderFacts, external: Collection[Path] = ()) -> None:
    """Check the table of token embeddings, and that it fits the decoder.

    Raises:
        ArtifactError: it is none, of another width, or reads other files.
    """
    header = _read(path, external)
    ids = header.inputs.get("input_ids")
    if header.inputs.keys() != {"input_ids"} or ids is None or ids.element != "int64":
        raise ArtifactError(
            f"{path} is no table of embeddings: it reads {shown(sorted(header.inputs))}",
            _WRONG_FILE,
        )
    _check_features(header, decoder)


def check_vision_encoder(
    path: Path, decoder: DecoderFacts, geometry: ImageGeometry, external: Collection[Path] = ()
) -> TowerFacts:
    """Check a vision tower with its projector, and that it fits decoder and geometry.

    Raises:
        ArtifactError: it is none, of another tile size, patch count or width, or reads other files.
    """
    header = _read(path, external)
    pixels = header.inputs.get("pixel_values")
    if header.inputs.keys() != {"pixel_values"} or pixels is None:
        raise ArtifactError(
            f"{path} is no vision encoder: it reads {shown(sorted(header.inputs))}", _WRONG_FILE
        )
    side, patches = geometry.tile_size, geometry.patches_per_side**2
    features = _check_features(header, decoder)
    if not _fits(pixels.shape, (None, 3, side, side)) or not _fits(
        features.shape, (None, patches, decoder.n_embd)
    ):
        raise ArtifactError(
            f"{path} makes {features.shape} of {pixels.shape}, the bundle's pictures are "
            f"(n, 3, {side}, {side}) and have {patches} features a tile",
            "use the vision encoder that was exported with this bundle",
        )
    return TowerFacts(path, _float(header, "pixel_values", pixels))


def _read(path: Path, external: Collection[Path]) -> OnnxHeader:
    if path.suffix != ".onnx":  # by another suffix ONNX Runtime would take another parser
        raise ArtifactError(f"{path} is not named .onnx", _HINT)
    header = read_header(path)
    folder = path.parent.resolve()
    known = {file.name for file in external if file.parent.resolve() == folder}
    for location in sorted(header.external):
        # Nothing but the bundle's own, verified files: a model may name any path on the machine.
        if location not in known:
            raise ArtifactError(
                f"{path} reads weights from {shown(location)}, which is no file of the bundle "
                "beside it",
                "list its external data in critic.json: export the bundle again",
            )
    return header


def _count_layers(header: OnnxHeader) -> int:
    found = [int(match[1]) for name in header.inputs if (match := _PAST.fullmatch(name))]
    if not found or len(found) != 2 * (max(found) + 1):
        raise ArtifactError(
            f"{header.path} takes {len(found)} past keys and values, not two for each layer",
            "a decoder with a cache is needed (decoder_model_merged): export the critic again",
        )
    return max(found) + 1


def _check_bias(header: OnnxHeader) -> bool:
    """Whether its attention takes a bias."""
    bias = header.inputs.get("attention_bias")
    if bias is None:
        return False
    if bias.element != "float32" or len(bias.shape) != 4 or "position_ids" not in header.inputs:
        raise ArtifactError(
            f"{header.path}: attention_bias is {bias}, not (batch, 1, sequence, total) in float32 "
            "beside position_ids",
            _HINT,
        )
    return True


def _check_attention(header: OnnxHeader, n_layers: int) -> int | None:
    """Positions that the attention can rotate."""
    nodes = [node for node in header.operators if node.name == ATTENTION]
    if len(nodes) != n_layers:
        raise ArtifactError(
            f"{header.path} has {len(nodes)} GroupQueryAttention operators for {n_layers} layers: "
            "its past cannot be extended in place",
            _HINT,
        )
    tables = {node.inputs[_COSINES] for node in nodes if len(node.inputs) > _COSINES}
    rows = [header.initializers[name][0] for name in tables if header.initializers.get(name)]
    return min(rows, default=None)


def _check_features(header: OnnxHeader, decoder: DecoderFacts) -> Port:
    if len(header.outputs) != 1:
        raise ArtifactError(f"{header.path} has the outputs {shown(sorted(header.outputs))}", _HINT)
    ((name, features),) = header.outputs.items()
    _float(header, name, features)
    if (width := _width(header, name, features)) != decoder.n_embd:
        raise ArtifactError(
            f"{header.path} gives features of width {width}, {decoder.path} has width "
            f"{decoder.n_embd}",
            "use the files that were exported together",
        )
    return features


def _width(header: OnnxHeader, name: str, port: Port | None) -> int:
    width = port.shape[-1] if port is not None and len(port.shape) == 3 else None
    if not width:
        raise ArtifactError(f"{header.path}: {name} has no fixed last dimension of three", _HINT)
    return width


def _float(header: OnnxHeader, name: str, port: Port) -> str:
    if port.element not in _FLOATS:
        raise ArtifactError(
            f"{header.path}: {name} is {port.element}, not {' or '.join(_FLOATS)}", _HINT
        )
    return port.element


def _expect(header: OnnxHeader, name: str, port: Port | None, like: Port) -> None:
    same = port is not None and port.element == like.element and _fits(port.shape, like.shape)
    if not same or (port is not None and port.shape[1::2] != like.shape[1::2]):
        raise ArtifactError(f"{header.path}: {name} is {port}, not like {like}", _HINT)


def _fits(shape: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a shape allows another one, free sizes fitting all."""
    return len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True)
    )
