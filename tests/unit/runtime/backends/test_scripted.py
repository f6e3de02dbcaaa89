"""What the scripted backend adds to the contract: the script's view, and its counters."""

from __future__ import annotations

import numpy as np

from edgecritic.backends.base import Append, ImageSpan, TextSpan
from edgecritic.backends.options import EngineOptions
from edgecritic.backends.scripted import SILENCE, History, ScriptedBackend


def test_the_script_sees_tokens_and_image_keys() -> None:
    seen: list[History] = []

    def script(history: History) -> dict[int, float]:
        seen.append(history)
        return {ord("y"): 2.0}

    backend = ScriptedBackend(script)
    sequence = backend.open_sequence()
    picture = ImageSpan("cat.png", np.zeros((3, backend.info.n_embd), dtype=np.float32))
    spans = (TextSpan(tuple(backend.tokenize("a"))), picture, TextSpan((ord("b"),)))
    (logits,) = backend.append([Append(sequence, spans)])
    assert seen == [(ord("a"), "cat.png", ord("b"))]
    assert logits is not None
    assert logits[ord("y")] == 2.0
    assert np.count_nonzero(logits != SILENCE) == 1
    assert backend.length(sequence) == 5


def test_the_script_runs_only_for_rows_that_are_asked_for() -> None:
    calls: list[History] = []

    def script(history: History) -> dict[int, float]:
        calls.append(history)
        return {}

    backend = ScriptedBackend(script)
    sequence = backend.open_sequence()
    backend.append([Append(sequence, (TextSpan((1,)),), logits=False)])
    assert calls == []


def test_counters_show_what_was_shared() -> None:
    backend = ScriptedBackend(lambda _: {}, options=EngineOptions(n_ctx=100))
    trunk = backend.open_sequence()
    backend.append([Append(trunk, (TextSpan((1,) * 30),), logits=False)])
    branches = [backend.fork(trunk) for _ in range(4)]
    backend.append([Append(branch, (TextSpan((2,) * 5),)) for branch in branches])
    assert (backend.decoded, backend.batches) == (50, 2)
    assert (backend.open_sequences, backend.free_cells) == (5, 50)
    for sequence in (trunk, *branches):
        backend.close_sequence(sequence)
    assert (backend.open_sequences, backend.free_cells) == (0, 100)


def test_tiles_are_counted_and_differ_by_colour() -> None:
    backend = ScriptedBackend(lambda _: {}, tile_size=4)
    tiles = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    tiles[1, :2, :2] = (255, 0, 0)
    features = backend.encode_tiles(tiles)
    assert backend.tiles == 2
    np.testing.assert_array_equal(features[0], 0)
    np.testing.assert_allclose(features[1, 0, :3], [1, 0, 0])
    np.testing.assert_array_equal(features[1, 1:], 0)
