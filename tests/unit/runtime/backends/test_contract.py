"""What every backend must do, run on the scripted one and on real engines with tiny F32 models."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecritic.backends.base import (
    Append,
    Backend,
    Cancelled,
    CancelToken,
    FloatArray,
    ImageSpan,
    TextSpan,
)
from edgecritic.backends.hf import HfBackend
from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.llamacpp.native import Package
from edgecritic.backends.onnx import OnnxBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.backends.scripted import History, ScriptedBackend
from edgecritic.errors import (
    BackendUnavailableError,
    ContextOverflowError,
    ImageError,
    InputError,
)
from tiny_models import TinyModels

TOLERANCE = 1e-3  # F32 weights, F16 cache; the scripted backend is exact
OPTIONS = EngineOptions(n_ctx=256, n_threads=1, n_batch=64, n_ubatch=32, max_sequences=8)

PREBUILT = [name for name in ("inferna",) if find_spec(name) is not None]
ENGINES = ["scripted", "llamacpp", *PREBUILT, "onnx", "branching", "hf"]

AnyBackend = ScriptedBackend | LlamaCppBackend | OnnxBackend | HfBackend
MakeBackend = Callable[[EngineOptions], AnyBackend]


def hashed_script(history: History) -> Mapping[int, float]:
    rng = np.random.default_rng(zlib.crc32(repr(history).encode()))
    return dict(enumerate(rng.standard_normal(200)))


@pytest.fixture(scope="module", params=ENGINES)
def make_backend(request: pytest.FixtureRequest, tiny_models: TinyModels) -> Iterator[MakeBackend]:
    made: list[AnyBackend] = []

    def scripted(options: EngineOptions) -> ScriptedBackend:
        return ScriptedBackend(hashed_script, options=options)

    def llamacpp(options: EngineOptions, package: Package = "llama-cpp-python") -> LlamaCppBackend:
        return LlamaCppBackend(
            tiny_models.language_model, mmproj=tiny_models.mmproj, options=options, package=package
        )

    local = {
        "scripted": scripted,
        "llamacpp": llamacpp,
        "inferna": partial(llamacpp, package="inferna"),
    }
    make = local.get(request.param) or request.getfixturevalue(f"make_{request.param}")

    def remembered(options: EngineOptions) -> AnyBackend:
        made.append(make(options))
        return made[-1]

    yield remembered
    for backend in made:
        backend.close()


@pytest.fixture(scope="module")
def shared_backend(make_backend: MakeBackend) -> AnyBackend:
    return make_backend(OPTIONS)


@pytest.fixture
def backend(shared_backend: AnyBackend) -> Iterator[AnyBackend]:
    """The module's backend; checks that the test left nothing behind."""
    yield shared_backend
    assert_all_cells_free(shared_backend)


def assert_all_cells_free(backend: AnyBackend) -> None:
    sequences = [backend.open_sequence() for _ in range(backend.info.max_sequences)]
    n_ctx = backend.info.n_ctx
    backend.append([Append(sequences[0], (TextSpan((65,) * n_ctx),), logits=False)])
    assert backend.length(sequences[0]) == n_ctx
    for sequence in sequences:
        backend.close_sequence(sequence)


def text(backend: AnyBackend, words: str) -> TextSpan:
    return TextSpan(tuple(backend.tokenize(words)))


def row(rows: Sequence[FloatArray | None]) -> FloatArray:
    assert len(rows) == 1
    assert rows[0] is not None
    return rows[0]


def decode(backend: AnyBackend, *spans: TextSpan | ImageSpan) -> FloatArray:
    """Logits after `spans` in a sequence of their own."""
    sequence = backend.open_sequence()
    logits = row(backend.append([Append(sequence, spans)]))
    backend.close_sequence(sequence)
    return logits


def image(backend: AnyBackend, seed: int) -> ImageSpan:
    rng = np.random.default_rng(seed)
    tiles = rng.integers(0, 256, size=(2, 28, 28, 3), dtype=np.uint8)
    features = backend.encode_tiles(tiles)
    return ImageSpan(f"image {seed}", features.reshape(-1, backend.info.n_embd))


def test_logits_are_float32_rows_of_the_vocabulary(backend: AnyBackend) -> None:
    logits = decode(backend, text(backend, "a cat"))
    assert logits.shape == (backend.info.n_vocab,)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


def test_no_logits_where_none_are_asked_for(backend: AnyBackend) -> None:
    asked, silent = backend.open_sequence(), backend.open_sequence()
    span = text(backend, "a cat")
    rows = backend.append([Append(silent, (span,), logits=False), Append(asked, (span,))])
    assert rows[0] is None
    assert rows[1] is not None
    for sequence in (asked, silent):
        backend.close_sequence(sequence)


def test_logits_stay_as_they_were_when_more_is_decoded(backend: AnyBackend) -> None:
    sequence = backend.open_sequence()
    first = row(backend.append([Append(sequence, (text(backend, "one"),))]))
    kept = first.copy()
    backend.append([Append(sequence, (text(backend, " two three"),))])
    np.testing.assert_array_equal(first, kept)
    backend.close_sequence(sequence)


def test_fork_equals_decoding_again(backend: AnyBackend) -> None:
    prefix, ending = text(backend, "the prefix"), text(backend, " and its ending")
    trunk = backend.open_sequence()
    backend.append([Append(trunk, (prefix,), logits=False)])
    branch = backend.fork(trunk)
    forked = row(backend.append([Append(branch, (ending,))]))
    np.testing.assert_allclose(forked, decode(backend, prefix, ending), atol=TOLERANCE)
    for sequence in (trunk, branch):
        backend.close_sequence(sequence)


def test_siblings_do_not_see_each_other(backend: AnyBackend) -> None:
    prefix = text(backend, "shared")
    endings = [text(backend, f" ending number {i}") for i in range(5)]
    trunk = backend.open_sequence()
    backend.append([Append(trunk, (prefix,), logits=False)])
    branches = [backend.fork(trunk) for _ in endings]
    rows = backend.append(
        [Append(branch, (end,)) for branch, end in zip(branches, endings, strict=True)]
    )
    for got, ending in zip(rows, endings, strict=True):
        assert got is not None
        np.testing.assert_allclose(got, decode(backend, prefix, ending), atol=TOLERANCE)
    for sequence in (trunk, *branches):
        backend.close_sequence(sequence)


def test_a_branch_outlives_its_trunk(backend: AnyBackend) -> None:
    prefix, ending = text(backend, "trunk"), text(backend, " leaf")
    trunk = backend.open_sequence()
    backend.append([Append(trunk, (prefix,), logits=False)])
    branch = backend.fork(trunk)
    backend.close_sequence(trunk)
    assert backend.length(branch) == len(prefix)
    forked = row(backend.append([Append(branch, (ending,))]))
    np.testing.assert_allclose(forked, decode(backend, prefix, ending), atol=TOLERANCE)
    backend.close_sequence(branch)


def test_a_trunk_grows_without_its_branches(backend: AnyBackend) -> None:
    trunk = backend.open_sequence()
    backend.append([Append(trunk, (text(backend, "ab"),), logits=False)])
    branch = backend.fork(trunk)
    backend.append([Append(trunk, (text(backend, "cd"),), logits=False)])
    late_branch = backend.fork(trunk)
    assert [backend.length(s) for s in (trunk, branch, late_branch)] == [4, 2, 4]
    forked = row(backend.append([Append(branch, (text(backend, "xy"),))]))
    np.testing.assert_allclose(forked, decode(backend, text(backend, "abxy")), atol=TOLERANCE)
    for sequence in (trunk, branch, late_branch):
        backend.close_sequence(sequence)


@pytest.mark.parametrize("n_shared", [0, 1, 5, 9])
def test_a_fork_may_share_a_beginning_only(backend: AnyBackend, n_shared: int) -> None:
    whole, ending = text(backend, "a prefix, more"), text(backend, " ending")
    trunk = backend.open_sequence()
    backend.append([Append(trunk, (TextSpan(whole.tokens[:5]),), logits=False)])
    early = backend.fork(trunk)  # so that the trunk's cells are in several pieces
    backend.append([Append(trunk, (TextSpan(whole.tokens[5:]),), logits=False)])
    free = backend.free_cells
    branch = backend.fork(trunk, n_shared)
    assert backend.free_cells == free
    assert backend.length(branch) == n_shared
    forked = row(backend.append([Append(branch, (ending,))]))
    shared = TextSpan(whole.tokens[:n_shared])
    np.testing.assert_allclose(forked, decode(backend, shared, ending), atol=TOLERANCE)
    again = row(backend.append([Append(trunk, (ending,))]))
    np.testing.assert_allclose(again, decode(backend, whole, ending), atol=TOLERANCE)
    for sequence in (trunk, early, branch):
        backend.close_sequence(sequence)


def test_a_fork_may_end_behind_an_image_and_outlive_its_trunk(backend: AnyBackend) -> None:
    before, picture, after = text(backend, "look: "), image(backend, 6), text(backend, " what?")
    trunk = backend.open_sequence()
    backend.append([Append(trunk, (before, picture, after, after), logits=False)])
    branch = backend.fork(trunk, len(before) + len(picture))
    backend.close_sequence(trunk)
    forked = row(backend.append([Append(branch, (after,))]))
    np.testing.assert_allclose(forked, decode(backend, before, picture, after), atol=TOLERANCE)
    backend.close_sequence(branch)


def test_a_fork_takes_no_more_than_there_is(backend: AnyBackend) -> None:
    sequence = backend.open_sequence()
    backend.append([Append(sequence, (text(backend, "abc"),), logits=False)])
    for length in (-1, 4):
        with pytest.raises(InputError, match="3 cells"):
            backend.fork(sequence, length)
    backend.close_sequence(sequence)


def test_one_batch_equals_one_by_one(backend: AnyBackend) -> None:
    # Longer than n_batch in sum, so that the batches are split within an append.
    spans = [text(backend, f"{i} " * (10 + 7 * i)) for i in range(4)]
    assert sum(len(span) for span in spans) > 2 * OPTIONS.n_batch
    sequences = [backend.open_sequence() for _ in spans]
    rows = backend.append([Append(s, (span,)) for s, span in zip(sequences, spans, strict=True)])
    for sequence in sequences:
        backend.close_sequence(sequence)
    for got, span in zip(rows, spans, strict=True):
        assert got is not None
        np.testing.assert_allclose(got, decode(backend, span), atol=TOLERANCE)


def test_split_spans_equal_one_span(backend: AnyBackend) -> None:
    whole = text(backend, "a sentence in two parts")
    parts = TextSpan(whole.tokens[:7]), TextSpan(()), TextSpan(whole.tokens[7:])
    np.testing.assert_allclose(decode(backend, *parts), decode(backend, whole), atol=TOLERANCE)


def test_images_and_text_alternate_in_one_append(backend: AnyBackend) -> None:
    before, after = text(backend, "look: "), text(backend, " and judge")
    spans = (before, image(backend, 1), after, image(backend, 2), after)
    at_once = decode(backend, *spans)
    sequence = backend.open_sequence()
    for span in spans:
        step_by_step = row(backend.append([Append(sequence, (span,))]))
    assert backend.length(sequence) == sum(len(span) for span in spans)
    backend.close_sequence(sequence)
    np.testing.assert_allclose(at_once, step_by_step, atol=TOLERANCE)


def test_images_of_several_sequences_in_one_call(backend: AnyBackend) -> None:
    question = text(backend, " what?")
    images = [image(backend, seed) for seed in (3, 4)]
    sequences = [backend.open_sequence() for _ in images]
    rows = backend.append(
        [Append(s, (picture, question)) for s, picture in zip(sequences, images, strict=True)]
    )
    for sequence in sequences:
        backend.close_sequence(sequence)
    for got, picture in zip(rows, images, strict=True):
        assert got is not None
        np.testing.assert_allclose(got, decode(backend, picture, question), atol=TOLERANCE)
    assert not np.allclose(row(rows[:1]), row(rows[1:]), atol=TOLERANCE)


def test_logits_after_an_image(backend: AnyBackend) -> None:
    picture = image(backend, 5)
    np.testing.assert_allclose(decode(backend, picture), decode(backend, picture), atol=TOLERANCE)


def test_overflow_decodes_nothing(backend: AnyBackend) -> None:
    prefix = text(backend, "kept")
    kept, other = backend.open_sequence(), backend.open_sequence()
    backend.append([Append(kept, (prefix,), logits=False)])
    room = backend.info.n_ctx - len(prefix)
    with pytest.raises(ContextOverflowError, match=f"{room + 1} .* {room} of") as caught:
        backend.append([Append(kept, (TextSpan((65,)),)), Append(other, (TextSpan((65,) * room),))])
    assert "n_ctx" in caught.value.hint
    assert (backend.length(kept), backend.length(other)) == (len(prefix), 0)
    ending = text(backend, " end")
    again = row(backend.append([Append(kept, (ending,))]))
    np.testing.assert_allclose(again, decode(backend, prefix, ending), atol=TOLERANCE)
    for sequence in (kept, other):
        backend.close_sequence(sequence)


def test_forks_take_no_cells(backend: AnyBackend) -> None:
    prefix = TextSpan((65,) * (backend.info.n_ctx - 8))
    trunk = backend.open_sequence()
    backend.append([Append(trunk, (prefix,), logits=False)])
    branches = [backend.fork(trunk) for _ in range(7)]
    backend.append([Append(branch, (TextSpan((66,)),)) for branch in branches])
    with pytest.raises(ContextOverflowError, match="2 more tokens are needed and 1 of"):
        backend.append([Append(trunk, (TextSpan((66, 66)),))])
    for sequence in (trunk, *branches):
        backend.close_sequence(sequence)


def test_too_many_sequences(backend: AnyBackend) -> None:
    sequences = [backend.open_sequence() for _ in range(backend.info.max_sequences)]
    with pytest.raises(InputError, match="all 8 sequences are open"):
        backend.open_sequence()
    with pytest.raises(InputError, match="all 8 sequences are open"):
        backend.fork(sequences[0])
    for sequence in sequences:
        backend.close_sequence(sequence)


@pytest.mark.parametrize("call", ["fork", "close_sequence", "length"])
def test_sequences_that_are_not_open(backend: AnyBackend, call: str) -> None:
    with pytest.raises(InputError, match="not open"):
        getattr(backend, call)(5)
    with pytest.raises(InputError, match="not open"):
        backend.append([Append(5, (TextSpan((65,)),))])


def test_one_sequence_twice_in_a_call(backend: AnyBackend) -> None:
    sequence = backend.open_sequence()
    append = Append(sequence, (TextSpan((65,)),))
    with pytest.raises(InputError, match="twice"):
        backend.append([append, append])
    assert backend.length(sequence) == 0
    backend.close_sequence(sequence)


def test_logits_of_an_empty_append(backend: AnyBackend) -> None:
    sequence = backend.open_sequence()
    with pytest.raises(InputError, match="empty append"):
        backend.append([Append(sequence, ())])
    assert backend.append([Append(sequence, (), logits=False)]) == [None]
    backend.close_sequence(sequence)


@pytest.mark.parametrize("bad_token", [-1, 1 << 20])
def test_tokens_outside_the_vocabulary(backend: AnyBackend, bad_token: int) -> None:
    sequence = backend.open_sequence()
    with pytest.raises(InputError, match="vocabulary"):
        backend.append([Append(sequence, (TextSpan((65, bad_token)),))])
    with pytest.raises(InputError, match="vocabulary"):
        backend.token_bytes(bad_token)
    assert backend.length(sequence) == 0
    backend.close_sequence(sequence)


def test_features_of_another_width(backend: AnyBackend) -> None:
    sequence = backend.open_sequence()
    features = np.zeros((4, backend.info.n_embd + 1), dtype=np.float32)
    with pytest.raises(InputError, match="shape"):
        backend.append([Append(sequence, (ImageSpan("wide", features),))])
    assert backend.length(sequence) == 0
    backend.close_sequence(sequence)


class CancelledAtCheck(CancelToken):
    """Lets a number of checks pass, then asks to stop."""

    def __init__(self, passes: int) -> None:
        super().__init__()
        self.passes = passes

    @property
    def cancelled(self) -> bool:
        self.passes -= 1
        return self.passes < 0


@pytest.mark.parametrize("passes", [0, 1])
def test_cancel_leaves_the_backend_usable(backend: AnyBackend, passes: int) -> None:
    span = text(backend, "some words that are decoded before and after " * 2)
    before = decode(backend, span)
    sequences = [backend.open_sequence() for _ in range(2)]
    with pytest.raises(Cancelled):
        backend.append([Append(s, (span,)) for s in sequences], CancelledAtCheck(passes))
    for sequence in sequences:
        backend.close_sequence(sequence)
    np.testing.assert_array_equal(decode(backend, span), before)


def test_an_unset_cancel_token_changes_nothing(backend: AnyBackend) -> None:
    span = text(backend, "words " * 20)
    sequence = backend.open_sequence()
    logits = row(backend.append([Append(sequence, (span,))], CancelToken()))
    backend.close_sequence(sequence)
    np.testing.assert_array_equal(logits, decode(backend, span))


def test_nothing_leaks_in_200_rounds(backend: AnyBackend) -> None:
    span = text(backend, "round")
    first = decode(backend, span)
    for _ in range(200):
        trunk = backend.open_sequence()
        backend.append([Append(trunk, (span,), logits=False)])
        branches = [backend.fork(trunk) for _ in range(3)]
        backend.append([Append(branch, (TextSpan((66,)),)) for branch in branches])
        for sequence in (branches[0], trunk, *branches[1:]):
            backend.close_sequence(sequence)
    np.testing.assert_allclose(decode(backend, span), first, atol=TOLERANCE)


def test_control_text_is_text_unless_asked_for(backend: AnyBackend) -> None:
    as_text = backend.tokenize("<|im_end|>")
    as_control = backend.tokenize("<|im_end|>", control=True)
    assert len(as_control) == 1
    assert len(as_text) > 1
    assert as_control[0] not in as_text
    assert as_control[0] in backend.info.end_tokens
    assert backend.token_bytes(as_control[0]) == b""
    mixed = backend.tokenize("a<|im_end|>b", control=True)
    assert mixed == [*backend.tokenize("a"), *as_control, *backend.tokenize("b")]


@given(words=st.text(max_size=40))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_bytes_of_tokens_are_the_text(shared_backend: AnyBackend, words: str) -> None:
    words = unicodedata.normalize("NFC", words)  # as Qwen2's tokenizer does by itself
    tokens = shared_backend.tokenize(words)
    assert b"".join(map(shared_backend.token_bytes, tokens)) == words.encode()


@pytest.mark.parametrize(
    "tiles",
    [
        np.zeros((1, 28, 27, 3), dtype=np.uint8),
        np.zeros((28, 28, 3), dtype=np.uint8),
        np.zeros((1, 28, 28, 3), dtype=np.float32),
    ],
    ids=["size", "dimensions", "type"],
)
def test_tiles_of_another_shape_are_refused(backend: AnyBackend, tiles: np.ndarray) -> None:
    with pytest.raises(ImageError, match="tiles of shape"):
        backend.encode_tiles(tiles)


def test_tiles_are_encoded_each_on_its_own(backend: AnyBackend) -> None:
    rng = np.random.default_rng(11)
    tiles = rng.integers(0, 256, size=(3, 28, 28, 3), dtype=np.uint8)
    features = backend.encode_tiles(tiles)
    assert features.shape[0] == 3
    assert features.shape[2] == backend.info.n_embd
    assert features.dtype == np.float32
    for tile, expected in zip(tiles, features, strict=True):
        np.testing.assert_allclose(backend.encode_tiles(tile[None])[0], expected, atol=TOLERANCE)
    assert backend.encode_tiles(tiles[:0]).shape == (0, *features.shape[1:])


def test_closing_twice_and_using_it_afterwards(make_backend: MakeBackend) -> None:
    backend = make_backend(OPTIONS)
    backend.open_sequence()
    backend.close()
    backend.close()
    for call in (backend.open_sequence, lambda: backend.tokenize("a")):
        with pytest.raises(BackendUnavailableError, match="closed"):
            call()
    with pytest.raises(BackendUnavailableError, match="closed"):
        backend.append([])


def test_the_protocol_is_met(backend: AnyBackend) -> None:
    as_protocol: Backend = backend  # mypy's part of the test
    assert as_protocol.info.n_vocab == len(decode(backend, TextSpan((65,))))


def test_info_says_what_was_asked_for(backend: AnyBackend) -> None:
    info = backend.info
    assert info.n_ctx == OPTIONS.n_ctx
    assert info.max_sequences == OPTIONS.max_sequences
    assert info.device == "cpu"
    assert all(0 <= token < info.n_vocab for token in info.end_tokens)
