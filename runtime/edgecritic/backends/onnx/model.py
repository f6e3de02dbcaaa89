"""The three sessions of a critic as a `Model`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecritic.backends.base import CancelToken, FloatArray, UInt8Array
from edgecritic.backends.branches import Branches
from edgecritic.backends.checks import check_tiles
from edgecritic.backends.chunk import Chunk
from edgecritic.backends.onnx.artifacts import DecoderFacts, TowerFacts
from edgecritic.backends.onnx.memory import Memory, Values
from edgecritic.backends.onnx.runtime import Session
from edgecritic.backends.workbench import Stretch
from edgecritic.errors import BackendUnavailableError, InputError
from edgecritic.vision.geometry import ImageGeometry
from edgecritic.vision.tiling import pixel_values


class Decoder:
    """The language model, on one stretch of memory.

    The attention takes one row of a batch when several positions are appended to a past. Cells of
    several sequences are therefore computed as one row, whose bias says who sees whom.

    Args:
        session: the decoder's.
        facts: its graph's.
        memory: for the longest sequence.
        n_positions: how long that may be.
    """

    def __init__(
        self, session: Session, facts: DecoderFacts, memory: Memory, n_positions: int
    ) -> None:
        self.memory = memory
        self._session = session
        self._facts = facts
        # A binding does not keep arrays alive: what is bound here and below has to outlive a run.
        self._ones = np.ones((1, n_positions), dtype=np.int64)
        self._binding = session.binding()
        self._binding.bind_output("logits", "cpu")  # first, so that it is the first result
        parts = ("key", "value")
        self._names = [f"{k}.{part}" for k in range(facts.n_layers) for part in parts]
        self._bound = -1

    def _bind_memory(self, n_positions: int) -> None:
        """Bind keys and values to buffers with room for so many positions."""
        self.memory.reserve(n_positions)
        if self._bound == self.memory.generation:
            return
        for name, buffer in zip(self._names, self.memory.buffers, strict=True):
            self._binding.bind_ortvalue_input(f"past_key_values.{name}", buffer)
            self._binding.bind_ortvalue_output(f"present.{name}", buffer)
        self._bound = self.memory.generation

    def decode(self, chunk: Chunk, start: int, cancel: CancelToken | None) -> FloatArray:
        """See `Model.decode`."""
        seen = np.zeros((len(chunk), start + len(chunk) if self._facts.branches else 0), np.float32)
        logits: FloatArray = self.decode_branches(Branches(chunk, seen, 1), start, cancel)[0]
        return logits

    def decode_branches(
        self, branches: Branches, start: int, cancel: CancelToken | None
    ) -> FloatArray:
        """See `edgecritic.backends.branches.DecodeBranches`."""
        facts, binding, chunk = self._facts, self._binding, branches.chunk
        end = start + len(chunk)
        self._bind_memory(end)
        embeddings = np.ascontiguousarray(chunk.embeddings[None], dtype=facts.embeddings)
        binding.bind_cpu_input("inputs_embeds", embeddings)
        # As long as the sequence, whatever the past has room for: the attention looks at as many
        # positions as the mask has ones.
        binding.bind_cpu_input("attention_mask", self._ones[:, :end])
        if facts.takes_positions:
            positions = chunk.positions[:1].astype(np.int64)
            binding.bind_cpu_input("position_ids", positions)
        if facts.branches:
            bias = branches.bias[None, None]
            binding.bind_cpu_input("attention_bias", bias)
        if facts.keeps_logits:
            n_logits = np.array(branches.n_logits, dtype=np.int64)
            binding.bind_cpu_input("num_logits_to_keep", n_logits)
        binding.bind_output("logits", "cpu")  # made anew by each run
        self._session.run_bound(binding, cancel)
        rows = binding.get_outputs()[0].numpy()
        return np.asarray(rows[0, -branches.n_logits :], dtype=np.float32)


class Tower:
    """Vision tower and projector, one tile at a time.

    Args:
        session: the vision encoder's.
        facts: its graph's.
        geometry: size of a tile, and how its pixels are normalised.
        n_embd: width of a feature.
    """

    def __init__(
        self, session: Session, facts: TowerFacts, geometry: ImageGeometry, n_embd: int
    ) -> None:
        self._session = session
        self._facts = facts
        self._geometry = geometry
        self._shape = (geometry.patches_per_side**2, n_embd)

    def encode(self, tiles: UInt8Array) -> FloatArray:
        """Encode (n, S, S, 3) uint8 RGB to (n, patches, n_embd) float32.

        Raises:
            ImageError: the tiles have another shape or type.
            BackendUnavailableError: the encoding failed.
        """
        check_tiles(tiles, self._geometry.tile_size)
        features = np.empty((len(tiles), *self._shape), dtype=np.float32)
        for tile, out in zip(tiles, features, strict=True):
            pixels = pixel_values(tile[None], self._geometry).astype(self._facts.pixels, copy=False)
            found = self._session.run({"pixel_values": pixels})
            if found.shape != (1, *self._shape):
                raise BackendUnavailableError(
                    f"{self._facts.path} gave features of shape {found.shape}, "
                    f"not {(1, *self._shape)}",
                    "use the vision encoder that was exported with this bundle",
                )
            out[:] = found[0]
        if not np.isfinite(features).all():
            raise BackendUnavailableError(
                f"{self._facts.path} gave features that are not finite",
                "a weight overflows in half precision: use a float32 vision encoder",
            )
        return features


class OnnxModel:
    """Decoder, embedding table and, in a critic that sees, tower.

    Args:
        decoder: the language model.
        embed_tokens: the session of the embedding table.
        tower: None for a critic of text.
    """

    def __init__(self, decoder: Decoder, embed_tokens: Session, tower: Tower | None) -> None:
        self._decoder = decoder
        self._embed_tokens = embed_tokens
        self._tower = tower

    @property
    def memory(self) -> Stretch[Values]:
        """Where the decoder keeps keys and values."""
        return self._decoder.memory

    def embed(self, tokens: Sequence[int]) -> FloatArray:
        """See `Model.embed`."""
        ids = np.array([tokens], dtype=np.int64)
        return np.asarray(self._embed_tokens.run({"input_ids": ids})[0], dtype=np.float32)

    def decode(self, chunk: Chunk, start: int, cancel: CancelToken | None) -> FloatArray:
        """See `Model.decode`."""
        return self._decoder.decode(chunk, start, cancel)

    def encode_tiles(self, tiles: UInt8Array) -> FloatArray:
        """See `Backend.encode_tiles`."""
        if self._tower is None:
            raise InputError(
                "this critic has no vision tower", "load it with its vision encoder and geometry"
            )
        return self._tower.encode(tiles)
