"""The vision tower and projector, through llama.cpp's libmtmd, one tile at a time.

libmtmd would tile, resize and place special tokens itself, in ways that differ from
transformers'. It is given finished tiles of exactly its own size, or finished pictures whose sides
its patches divide, and asked for nothing but the encoding: such a bitmap passes its preprocessing
unchanged, apart from the normalisation by mean and standard deviation.
"""

from __future__ import annotations

import ctypes
import os

import numpy as np

from edgecritic.backends.base import FloatArray, UInt8Array
from edgecritic.backends.checks import check_picture_sides, check_tiles
from edgecritic.backends.llamacpp.native import FLASH_ATTENTION, Native
from edgecritic.backends.llamacpp.projector_file import ProjectorFacts
from edgecritic.errors import ArtifactError, BackendUnavailableError
from edgecritic.vision.native import MAX_TOKENS


class Projector:
    """An open mmproj file.

    Args:
        native: the library.
        facts: the checked header of the file.
        model: the llama_model pointer of the language model, which must outlive this object.
        n_threads: threads of computation.
        use_gpu: whether a GPU may be used.
        flash_attention: None leaves the choice to the engine.

    Raises:
        ArtifactError: libmtmd does not accept the file.
    """

    def __init__(
        self,
        native: Native,
        facts: ProjectorFacts,
        model: int,
        *,
        n_threads: int,
        use_gpu: bool,
        flash_attention: bool | None,
    ) -> None:
        self._native = native
        self._facts = facts
        params = native.mtmd.mtmd_context_params_default()
        params.use_gpu = use_gpu
        params.print_timings = False
        params.n_threads = n_threads
        params.flash_attn_type = FLASH_ATTENTION[flash_attention]
        params.warmup = False  # the first tile warms up
        if facts.tile_size is None:  # its own bounds would resize what the geometry allows
            params.image_min_tokens, params.image_max_tokens = 1, MAX_TOKENS
        native.log.forget()
        # The language model is passed only so that libmtmd initialises its position type, which
        # it leaves undefined without one.
        self._context: int | None = native.mtmd.mtmd_init_from_file(
            os.fsencode(facts.path), model, params
        )
        if not self._context:
            raise ArtifactError(
                f"llama.cpp does not open {facts.path}: {native.log.complaint()}",
                "export the vision tower again with edgecritic_export",
            )

    def encode(self, tiles: UInt8Array) -> FloatArray:
        """Encode tiles.

        Args:
            tiles: (n, H, W, 3) uint8 RGB, both sides the tower's tile size, or multiples of a
                feature's side where it takes pictures of any size.

        Returns:
            (n, features, n_embd) float32.

        Raises:
            ImageError: the tiles have another shape or type.
            BackendUnavailableError: the encoding failed.
        """
        facts = self._facts
        if facts.tile_size is None:
            check_picture_sides(tiles, facts.cell_size, MAX_TOKENS)
        else:
            check_tiles(tiles, facts.tile_size)
        n_features = facts.features_of(*tiles.shape[1:3])
        features = np.empty((len(tiles), n_features, facts.n_embd), dtype=np.float32)
        for index, tile in enumerate(tiles):
            self._encode_one(np.ascontiguousarray(tile), features[index])
        if not np.isfinite(features).all():
            raise BackendUnavailableError(
                f"{facts.path} gave features that are not finite",
                "a weight overflows in half precision: use an F32 or BF16 vision tower",
            )
        return features

    def close(self) -> None:
        """Free the vision tower. Idempotent."""
        if self._context:
            self._native.mtmd.mtmd_free(self._context)
            self._context = None

    def _encode_one(self, tile: UInt8Array, out: FloatArray) -> None:
        mtmd = self._native.mtmd
        height, width, _ = tile.shape
        pixels = tile.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        bitmap = mtmd.mtmd_bitmap_init(width, height, pixels)  # copies the pixels
        chunks = mtmd.mtmd_input_chunks_init()
        try:
            self._prepare(bitmap, chunks)
            chunk = self._image_chunk(chunks)
            if (
                mtmd.mtmd_input_chunk_get_n_tokens(chunk) != len(out)
                or mtmd.mtmd_encode_chunk(self._context, chunk) != 0
            ):
                raise self._failed()
            features = mtmd.mtmd_get_output_embd(self._context)
            if not features:
                raise self._failed()
            out[:] = np.ctypeslib.as_array(features, shape=out.shape)
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            mtmd.mtmd_bitmap_free(bitmap)

    def _prepare(self, bitmap: int, chunks: int) -> None:
        mtmd = self._native.mtmd
        parts = self._native.one_picture(bitmap)
        self._native.log.forget()
        add_special = False
        if mtmd.mtmd_tokenize_from_parts(self._context, chunks, parts, 1, add_special) != 0:
            raise self._failed()

    def _image_chunk(self, chunks: int) -> int:
        """The only one; tokens that frame a picture are chunks of their own, and prompts' work."""
        mtmd = self._native.mtmd
        kinds = {}
        for index in range(mtmd.mtmd_input_chunks_size(chunks)):
            chunk: int = mtmd.mtmd_input_chunks_get(chunks, index)
            kinds[chunk] = mtmd.mtmd_input_chunk_get_type(chunk)
        found = [chunk for chunk, kind in kinds.items() if kind == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE]
        if len(found) != 1:
            raise self._failed()
        return found[0]

    def _failed(self) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"{self._facts.path}: encoding a tile failed: {self._native.log.complaint()}",
            "load the critic again; on a GPU, free some of its memory",
        )
