"""Layers that fit into a GPU's free memory. No GPU takes part: what is told to llama.cpp is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.backends.llamacpp import LlamaCppBackend, engine, native
from edgecritic.backends.llamacpp.artifacts import check_language_model
from edgecritic.backends.llamacpp.offload import MARGIN, Needs, layers_that_fit, needs
from edgecritic.backends.llamacpp.projector_file import check_projector
from edgecritic.backends.options import EngineOptions
from edgecritic.errors import BackendUnavailableError
from edgecritic.gguf_header import read_header
from tiny_models import TinyModels

OPTIONS = EngineOptions(n_ctx=256, n_threads=1, max_sequences=4)
GIB = 1 << 30


def seven_billion() -> Needs:
    """Like a 7B in four bits: 28 layers with their cache, an output matrix, a tower of 1 GB."""
    return Needs((140_000_000,) * 28, 450_000_000, 1_000_000_000)


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ([], 0),
        ([GIB], 0),
        ([2 * GIB], 2),  # the output matrix, and one layer behind buffers and margin
        ([4 * GIB], 17),
        ([8 * GIB], 29),
        ([4 * GIB, 4 * GIB], 29),
        ([3 * GIB, 2 * GIB], 13),
    ],
)
def test_as_many_as_fit(free: list[int], expected: int) -> None:
    assert layers_that_fit(seven_billion(), free) == expected


PARTS = st.integers(0, 1 << 31)


@given(
    layers=st.lists(PARTS, max_size=20), output=PARTS, always=PARTS, free=st.integers(0, 1 << 36)
)
def test_what_is_chosen_fits_and_one_more_would_not(
    layers: list[int], output: int, always: int, free: int
) -> None:
    needed = Needs(tuple(layers), output, always)
    count = layers_that_fit(needed, [free])
    parts = [output, *reversed(layers)]
    assert 0 <= count <= len(parts)
    if count:
        assert sum(parts[:count]) + always + MARGIN <= free
    if count < len(parts):
        assert sum(parts[: count + 1]) + always + MARGIN >= free


def test_needs_are_read_from_the_files(tiny_models: TinyModels) -> None:
    facts = check_language_model(tiny_models.language_model)
    projector = check_projector(tiny_models.mmproj, facts)
    bare = needs(facts, None, [], OPTIONS)
    adapted = needs(facts, projector, [tiny_models.adapter], OPTIONS)
    header = read_header(tiny_models.language_model)
    first = sum(c.n_bytes for n, c in header.tensors.items() if n.startswith("blk.0."))
    n_embd = header.count("llama.embedding_length")
    heads = [header.count(f"llama.attention.head_count{kind}") for kind in ("", "_kv")]
    cache = 2 * 256 * (n_embd // heads[0] * heads[1]) * 2  # keys and values of 256 cells in F16
    assert bare.layers[0] == first + cache
    adapter = read_header(tiny_models.adapter).tensors.values()
    assert sum(adapted.layers) - sum(bare.layers) == sum(claim.n_bytes for claim in adapter)
    tower = read_header(tiny_models.mmproj).tensors.values()
    assert adapted.always - bare.always > sum(claim.n_bytes for claim in tower)
    wide = needs(facts, None, [], replace(OPTIONS, cache_type="F32", n_ctx=512))
    assert wide.layers[0] == first + 4 * cache


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int] | None], list[Any]]:
    """Claims a GPU with so much free memory; returns the parameters that models are loaded with."""

    def claim(free: list[int] | None) -> list[Any]:
        loaded: list[Any] = []
        real = native.load_native()

        class Llama:
            def __getattr__(self, name: str) -> Any:
                return getattr(real.llama, name)

            def llama_supports_gpu_offload(self) -> bool:
                return True

            def llama_model_load_from_file(self, path: bytes, params: Any) -> Any:
                loaded.append(params.n_gpu_layers)
                return real.llama.llama_model_load_from_file(path, params)

        fake = replace(
            real, llama=Llama(), gpu_name=lambda: "Some GPU", free_gpu_memory=lambda: free
        )
        monkeypatch.setattr(engine, "load_native", lambda package: fake)
        return loaded

    return claim


def opened(models: TinyModels, options: EngineOptions = OPTIONS) -> str:
    backend = LlamaCppBackend(models.language_model, mmproj=models.mmproj, options=options)
    device = backend.info.device
    backend.close()
    return device


@pytest.mark.parametrize("free", [[GIB], None, []])
def test_everything_goes_to_a_gpu_with_room(
    with_gpu: Callable[[list[int] | None], list[Any]],
    tiny_models: TinyModels,
    free: list[int] | None,
) -> None:
    loaded = with_gpu(free)
    assert opened(tiny_models) == "Some GPU"
    assert loaded == [-1]


def test_a_part_goes_to_a_gpu_with_little_room(
    with_gpu: Callable[[list[int] | None], list[Any]], tiny_models: TinyModels
) -> None:
    facts = check_language_model(tiny_models.language_model)
    needed = needs(facts, check_projector(tiny_models.mmproj, facts), [], OPTIONS)
    loaded = with_gpu([MARGIN + needed.always + needed.output + needed.layers[-1]])
    assert opened(tiny_models) == f"Some GPU, 2 of {len(needed.layers) + 1} layers"
    assert loaded == [2]


def test_nothing_goes_to_a_gpu_that_is_full(
    with_gpu: Callable[[list[int] | None], list[Any]], tiny_models: TinyModels
) -> None:
    loaded = with_gpu([MARGIN])
    assert opened(tiny_models) == "cpu"
    assert loaded == [0]
    with pytest.raises(BackendUnavailableError, match="537 MB free") as caught:
        opened(tiny_models, replace(OPTIONS, device="gpu"))
    assert "n_ctx" in caught.value.hint
    assert opened(tiny_models, replace(OPTIONS, device="cpu")) == "cpu"


def test_free_memory_is_asked_of_the_library() -> None:
    found = native.load_native()
    assert found.free_gpu_memory() == []  # the build that is tested has no GPU
    assert found.gpu_name() == "gpu"
    assert Path(str(found.llama.__file__)).is_file()
