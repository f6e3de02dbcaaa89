"""Several sequences in one run of ONNX Runtime: what each gets is what it gets alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx as onnx_package
import pytest
from PIL import Image

from edgecritic import Bundle, CompareRequest, Critic, ScoreRequest
from edgecritic.backends.base import (
    Append,
    Cancelled,
    CancelToken,
    FloatArray,
    ImageSpan,
    TextSpan,
)
from edgecritic.backends.branches import HIDDEN, Branch, side_by_side
from edgecritic.backends.chunk import Chunk
from edgecritic.backends.onnx import OnnxBackend, OnnxFiles
from edgecritic.backends.onnx.artifacts import check_decoder
from edgecritic.backends.onnx.memory import allocated
from edgecritic.backends.onnx.runtime import Session
from edgecritic.backends.options import EngineOptions
from edgecritic.errors import ArtifactError, BackendUnavailableError
from edgecritic.fit.onnx import onnx_costs
from edgecritic.fit.parts import Probe
from edgecritic.fit.workload import Picture, Workload
from edgecritic.graphs.decoder import write_decoder
from edgecritic.graphs.precision import DecoderPrecision
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.onnx.decoder import CheckpointLanguageModel

OPTIONS = EngineOptions(n_ctx=256, n_threads=1, n_batch=64, max_sequences=8)
TOLERANCE = 1e-5  # float32; logits have a deviation of 0.9
STEM = TextSpan(tuple(range(40, 60)))

Make = Callable[[EngineOptions], OnnxBackend]


@pytest.fixture(scope="module")
def backend(make_branching: Make) -> Iterator[OnnxBackend]:
    opened = make_branching(OPTIONS)
    yield opened
    opened.close()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each run of a decoder, from now on."""
    counted: list[int] = []
    real = Session.run_bound

    def run(self: Session, *arguments: Any) -> None:
        counted.append(1)
        real(self, *arguments)

    monkeypatch.setattr(Session, "run_bound", run)
    return counted


def alone(backend: OnnxBackend, tokens: Sequence[int]) -> FloatArray:
    """Logits after tokens, one sequence, one append."""
    sequence = backend.open_sequence()
    (row,) = backend.append([Append(sequence, (TextSpan(tuple(tokens)),))])
    backend.close_sequence(sequence)
    assert row is not None
    return row


def chunk(start: int, n: int) -> Chunk:
    """Cells that are known by their positions."""
    positions = np.tile(np.arange(start, start + n, dtype=np.int32), (3, 1))
    return Chunk(positions[:1].T.astype(np.float32), positions)


def test_cells_with_logits_are_the_last_and_see_their_own_sequence_only() -> None:
    seen = [np.array([0, 1, 2]), np.array([0, 1, 4]), np.array([0])]
    made = [
        Branch(chunk(3, 2), seen[0], logits=True),
        Branch(chunk(3, 3), seen[1], logits=False),
        Branch(chunk(1, 1), seen[2], logits=True),
    ]
    branches, slots = side_by_side(made, 6)
    assert [own.tolist() for own in slots] == [[6, 10], [7, 8, 9], [11]]
    assert branches.chunk.positions[0].tolist() == [3, 3, 4, 5, 4, 1]
    assert branches.n_logits == 2
    assert branches.bias.shape == (6, 12)
    for before, own in zip(seen, slots, strict=True):
        for slot in own:
            row = branches.bias[slot - 6]
            shown = sorted([*before, *own])
            assert np.flatnonzero(row == 0).tolist() == shown
            assert np.count_nonzero(row == HIDDEN) == 12 - len(shown)


def test_tokens_of_several_sequences_take_one_run(backend: OnnxBackend, runs: list[int]) -> None:
    trunk = backend.open_sequence()
    backend.append([Append(trunk, (STEM,), logits=False)])
    branches = [backend.fork(trunk) for _ in range(5)]
    texts = [[70 + k] for k in range(5)]
    for length in range(4):
        runs.clear()
        rows = backend.append(
            [Append(b, (TextSpan((t[-1],)),)) for b, t in zip(branches, texts, strict=True)]
        )
        assert len(runs) == 1
        for row, text in zip(rows, texts, strict=True):
            expected = alone(backend, (*STEM.tokens, *text))
            np.testing.assert_allclose(row, expected, atol=TOLERANCE)
            text.append((7 * text[-1] + length) % 200)
    for sequence in (trunk, *branches):
        backend.close_sequence(sequence)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_sequences_do_each_has_its_own_history(
    make_branching: Make, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Forks, appends of several lengths and closings in a small context, against one by one."""
    monkeypatch.setattr("edgecritic.backends.onnx.memory.STEP", 16)
    choose = random.Random(seed)
    options = replace(OPTIONS, n_ctx=120, n_batch=24, max_sequences=6)
    with closing(make_branching(options)) as backend, closing(make_branching(options)) as other:
        loaded = backend._loaded
        assert loaded is not None
        histories: dict[int, tuple[int, ...]] = {}
        for _ in range(60):
            step = choose.choice(["open", "fork", "close", "append", "append", "append"])
            if step == "open" or not histories:
                if len(histories) < 6:
                    histories[backend.open_sequence()] = ()
            elif step == "fork":
                if len(histories) < 6:
                    origin = choose.choice(sorted(histories))
                    length = choose.randint(0, len(histories[origin]))
                    copy = backend.fork(origin, length)
                    histories[copy] = histories[origin][:length]
            elif step == "close":
                gone = choose.choice(sorted(histories))
                backend.close_sequence(gone)
                del histories[gone]
            else:
                several = choose.sample(sorted(histories), choose.randint(1, len(histories)))
                added = {
                    s: tuple(choose.choices(range(200), k=choose.choice([1, 1, 3, 9])))
                    for s in several
                }
                if sum(map(len, added.values())) > backend.free_cells:
                    continue
                wants = {s: choose.random() < 0.8 for s in several}
                rows = backend.append(
                    [Append(s, (TextSpan(added[s]),), logits=wants[s]) for s in several]
                )
                for sequence, row in zip(several, rows, strict=True):
                    histories[sequence] += added[sequence]
                    assert (row is not None) == wants[sequence]
                    if row is not None:
                        expected = alone(other, histories[sequence])
                        np.testing.assert_allclose(row, expected, atol=TOLERANCE)
            buffers = loaded.model.memory.buffers  # type: ignore[attr-defined]
            assert {buffer.shape()[2] for buffer in buffers} <= set(range(16, 121))


@pytest.mark.parametrize("logits", [True, False])
def test_what_is_no_number_stays_with_whose_it_is(backend: OnnxBackend, logits: bool) -> None:
    trunk = backend.open_sequence()
    backend.append([Append(trunk, (STEM,), logits=False)])
    broken, mate = backend.fork(trunk), backend.fork(trunk)
    features = np.full((2, backend.info.n_embd), np.nan, dtype=np.float32)
    words = TextSpan((5, 6))
    rows = backend.append(
        [
            Append(broken, (ImageSpan("broken", features),), logits=logits),
            Append(mate, (words,), logits=logits),
        ]
    )
    if logits:
        assert rows[0] is not None
        assert np.isnan(rows[0]).all()
    more = backend.append([Append(mate, (words,)), Append(trunk, (words,))])
    expected = [alone(backend, (*STEM.tokens, *words.tokens * n)) for n in (2, 1)]
    for row, other in zip(more, expected, strict=True):
        np.testing.assert_allclose(row, other, atol=TOLERANCE)
    for sequence in (trunk, broken, mate):
        backend.close_sequence(sequence)


@pytest.mark.parametrize("error", [MemoryError, BackendUnavailableError])
def test_what_fails_together_is_tried_one_by_one(
    backend: OnnxBackend, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    trunk = backend.open_sequence()
    backend.append([Append(trunk, (STEM,), logits=False)])
    branches = [backend.fork(trunk) for _ in range(3)]
    real, refused = Session.run_bound, []

    def run(self: Session, binding: Any, cancel: CancelToken | None) -> None:
        real(self, binding, cancel)
        if binding.get_outputs()[0].shape()[1] > 1:  # several rows of logits
            refused.append(1)
            raise error("too much at once", "less")

    monkeypatch.setattr(Session, "run_bound", run)
    rows = backend.append([Append(b, (TextSpan((b, 9)),)) for b in branches])
    assert refused == [1]
    for branch, row in zip(branches, rows, strict=True):
        expected = alone(backend, (*STEM.tokens, branch, 9))
        np.testing.assert_allclose(row, expected, atol=TOLERANCE)
    for sequence in (trunk, *branches):
        backend.close_sequence(sequence)


def test_cancelled_while_several_are_computed(backend: OnnxBackend, runs: list[int]) -> None:
    class StopsLater(CancelToken):
        looks = 0

        @property
        def cancelled(self) -> bool:
            self.looks += 1
            return self.looks > 1  # the first look is the one before a run

    trunk = backend.open_sequence()
    backend.append([Append(trunk, (STEM,), logits=False)])
    branches = [backend.fork(trunk) for _ in range(4)]
    # Two runs of two: the second one is not begun, if the first was not stopped already.
    appends = [Append(b, (TextSpan((9,) * 30),)) for b in branches]
    with pytest.raises(Cancelled):
        backend.append(appends, StopsLater())
    assert len(runs) == 2  # the trunk's, and one of both
    for branch in branches:
        backend.close_sequence(branch)
    (row,) = backend.append([Append(trunk, (TextSpan((3,)),))])
    np.testing.assert_allclose(row, alone(backend, (*STEM.tokens, 3)), atol=TOLERANCE)
    backend.close_sequence(trunk)


# Whole critics.

QUESTION = "Which digit is this?"
RESPONSES = [f"the digit {k}, {'drawn ' * (k % 3)}in red" for k in range(7)]
PICTURE = Image.new("RGB", (60, 40), "red")


@pytest.fixture
def critic(branching_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[Critic]:
    monkeypatch.setattr("edgecritic.scoring.MIN_MASS", 0.0)  # a random model states no verdicts
    with Critic.load(branching_bundle, device="cpu", threads=1) as opened:
        yield opened


def test_reasons_written_together_are_those_written_alone(critic: Critic, runs: list[int]) -> None:
    requests = [
        ScoreRequest(PICTURE, QUESTION, response, max_rationale_tokens=8 + 5 * (k % 3))
        for k, response in enumerate(RESPONSES)
    ]
    single = [critic.submit(request).result(60) for request in requests]
    n_single = len(runs)
    runs.clear()
    together = [future.result(60) for future in critic.submit_many(requests)]
    for one, other in zip(single, together, strict=True):
        assert other.rationale == one.rationale
        assert dict(other.probabilities) == pytest.approx(dict(one.probabilities), abs=1e-5)
        assert other.usage.rationale_tokens == one.usage.rationale_tokens
    assert len({verdict.usage.rationale_tokens for verdict in single}) > 1  # they end in turn
    assert len(runs) < n_single / 3


def test_equal_requests_get_equal_bits_whatever_else_is_asked(
    branching_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecritic.scoring.MIN_MASS", 0.0)
    request = CompareRequest(PICTURE, QUESTION, *RESPONSES[:2], max_rationale_tokens=6)
    company = [ScoreRequest(None, QUESTION, words, max_rationale_tokens=9) for words in RESPONSES]
    company += [ScoreRequest(PICTURE, "And this?", words, rationale=False) for words in RESPONSES]
    seen = set()
    with Critic.load(branching_bundle, device="cpu", threads=1, deterministic=True) as critic:
        for n in (0, 3, 14, 1, 9):
            futures = critic.submit_many([*company[:n], request, *company[n:]])
            judged = futures[n].result(60)
            seen.add((tuple(judged.probabilities.values()), judged.rationale))
    assert len(seen) == 1


def test_an_estimate_counts_all_answers_that_lie_among_each_other(
    onnx: OnnxFiles, branching_bundle: Bundle
) -> None:
    files = {"one by one": onnx, "together": OnnxFiles.of(branching_bundle)}
    five, nothing = Workload(None, responses=5), Picture(0, (0, 0), 0)
    costs = {
        name: onnx_costs(found, EngineOptions(), five, nothing, lambda kind: Probe(0, 0, 1, 1))
        for name, found in files.items()
    }
    assert [costs[name].work.together for name in files] == [False, True]
    cell = check_decoder(onnx.decoder).cell_bytes
    laid = {name: found.ram["keys and values"] // cell for name, found in costs.items()}
    assert laid["one by one"] < laid["together"] == allocated(five.tokens(0), 4096)
    assert costs["together"].ram["keys and values put aside"] == 0


# Files.


def test_a_bias_without_positions_is_refused(branching_bundle: Bundle, tmp_path: Path) -> None:
    files = OnnxFiles.of(branching_bundle)
    assert check_decoder(files.decoder).branches
    model = onnx_package.load(files.decoder)
    positions = next(value for value in model.graph.input if value.name == "position_ids")
    model.graph.input.remove(positions)
    for node in model.graph.node:
        node.input[:] = ["" if name == "position_ids" else name for name in node.input]
    onnx_package.save(model, tmp_path / "decoder.onnx")
    with pytest.raises(ArtifactError, match="attention_bias"):
        check_decoder(tmp_path / "decoder.onnx")


def test_half_precision_has_no_branches(checkpoint: Path, tmp_path: Path) -> None:
    precision = DecoderPrecision(("fp16", "fp16"), "fp16", "fp16")
    with Checkpoint.open(checkpoint) as opened:
        weights = CheckpointLanguageModel(opened)
        with pytest.raises(ArtifactError, match="branches"):
            write_decoder(weights, tmp_path / "half.onnx", precision, branching=True)
