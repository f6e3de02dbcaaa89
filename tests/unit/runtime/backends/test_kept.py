"""What engines keep between calls, counted in bytes where they hold it."""

from __future__ import annotations

from typing import Any

import pytest

from edgecritic import Bundle, Critic
from edgecritic.backends.base import Append, TextSpan
from tiny_checkpoints import write_llava_onevision
from tiny_engines import write_gguf_bundle, write_hf_bundle, write_onnx_bundles

QUESTION = "Which digit is this?"
BOUND = 230_000  # two prompts


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    checkpoint = folder / "checkpoint"
    write_llava_onevision(checkpoint)
    return {
        "llamacpp": write_gguf_bundle(checkpoint, folder / "gguf"),
        "onnx": write_onnx_bundles(checkpoint, folder / "onnx")["fp32"],
        "hf": write_hf_bundle(checkpoint, folder / "hf"),
    }


def loaded(bundle: Bundle, engine: str, **more: Any) -> Critic:
    return Critic.load(bundle, backend=engine, device="cpu", threads=1, **more)


def aside(critic: Critic) -> int:
    """Bytes of keys and values that lie beside the sequence that is laid out."""
    runs = critic._judging._backend._require_open().sequences._runs
    copies = {id(run): run.aside for held in runs.values() for run in held}
    return sum(copy.nbytes for copy in copies.values() if copy is not None)


@pytest.mark.parametrize("engine", ["onnx", "hf"])
def test_a_cell_has_as_many_bytes_as_it_says(bundles: dict[str, Bundle], engine: str) -> None:
    with loaded(bundles[engine], engine) as critic:
        backend: Any = critic._judging._backend
        for tokens in ((1, 2, 3, 4, 5), (6, 7)):
            backend.append([Append(backend.open_sequence(), (TextSpan(tokens),))])
        assert aside(critic) == 5 * backend.info.cell_bytes


def test_a_cell_of_llama_cpp_has_as_many_bytes_as_it_says(bundles: dict[str, Bundle]) -> None:
    with loaded(bundles["llamacpp"], "llamacpp") as critic:
        backend: Any = critic._judging._backend
        sequence, sizes = backend.open_sequence(), []
        for _ in range(2):
            backend.append([Append(sequence, (TextSpan((1,) * 100),))])
            context = backend._handles.context
            sizes.append(backend._native.llama.llama_state_seq_get_size(context, sequence))
        beside = (sizes[1] - sizes[0]) / 100 - backend.info.cell_bytes
        assert 0 <= beside <= 32  # its position and whose it is


@pytest.mark.parametrize("engine", ["onnx", "hf"])
def test_copies_stay_within_the_bound(bundles: dict[str, Bundle], engine: str) -> None:
    kept = {}
    for bound in (None, BOUND, 0):
        with loaded(bundles[engine], engine, prefix_bytes=bound) as critic:
            for number in range(8):
                critic.score(None, QUESTION, str(number) * 60, rationale=False)
            kept[bound] = aside(critic)
    assert kept[None] > kept[BOUND] > kept[0] == 0
    assert kept[BOUND] <= BOUND


def test_a_budget_bounds_what_is_kept(bundles: dict[str, Bundle]) -> None:
    with loaded(bundles["onnx"], "onnx", memory_budget=20_000_000) as critic:
        needed = 20_000_000 - 4 * critic.cache.max_bytes
        assert 0 < needed < 20_000_000
    with loaded(bundles["onnx"], "onnx", memory_budget=needed + 4 * BOUND) as critic:
        for number in range(8):
            critic.score(None, QUESTION, str(number) * 60, rationale=False)
        assert 0 < aside(critic) <= BOUND
