"""Generated text arrives whole, in order, and ends where it should."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgecritic.backends.base import Append, TextSpan
from edgecritic.backends.scripted import History, ScriptedBackend
from edgecritic.errors import InputError
from edgecritic.judging.generation import Generated, PieceBuffer, Sampling, Writer, choose

PROMPT = b"say: "
END = 258


def speaking(text: str) -> ScriptedBackend:
    """A backend that answers the prompt with `text` and an end token."""

    def script(history: History) -> Mapping[int, float]:
        said = bytes(unit for unit in history if isinstance(unit, int))[len(PROMPT) :]
        left = text.encode()[len(said) :]
        return {left[0] if left else END: 5.0}

    return ScriptedBackend(script)


def listen(
    backend: ScriptedBackend,
    sampling: Sampling | None = None,
    *,
    stops: tuple[str, ...] = ("\n\n",),
    ends: frozenset[int] = frozenset(),
    limit: int | None = None,
) -> tuple[list[str], Generated]:
    sequence = backend.open_sequence()
    pieces: list[str] = []
    sampling = sampling or Sampling()
    writer = Writer(
        sampling,
        backend.token_bytes,
        ends | backend.info.end_tokens,
        sampling.max_tokens if limit is None else limit,
        stops=stops,
        tell=pieces.append,
    )
    spans = TextSpan(tuple(PROMPT))
    while True:
        (logits,) = backend.append([Append(sequence, (spans,))])
        assert logits is not None
        if found := writer.feed(logits):
            return pieces, found
        spans = TextSpan((writer.tokens[-1],))


def test_pieces_are_the_text() -> None:
    pieces, generated = listen(speaking(" A ½ of it ... no more.  "))
    assert "".join(pieces) == generated.text == "A ½ of it ... no more."
    assert generated.ended == "end"
    assert generated.n_tokens == len(" A ½ of it ... no more.  ".encode())
    assert "½" in "".join(pieces)
    assert all(pieces)


def test_a_stop_text_is_not_part_of_the_text() -> None:
    pieces, generated = listen(speaking("one\ntwo\n\nthree"))
    assert pieces[-1] == "o"
    assert generated == Generated("one\ntwo", 9, "stop")


def test_what_only_begins_like_a_stop_text_is_given_out_in_the_end() -> None:
    pieces, generated = listen(speaking("good\nScor"), stops=("\nScore:",))
    assert generated == Generated("good\nScor", 9, "end")
    assert pieces[-1] == "\nScor"


def test_the_limit_counts_tokens() -> None:
    _, generated = listen(speaking("abcdef"), Sampling(max_tokens=4))
    assert generated == Generated("abcd", 4, "limit")
    assert listen(speaking("abc"), Sampling(max_tokens=0))[1] == Generated("", 0, "limit")


def test_text_held_back_at_the_limit_is_given_out() -> None:
    pieces, generated = listen(speaking("ab\nSco"), Sampling(max_tokens=6), stops=("\nScore",))
    assert "".join(pieces) == generated.text == "ab\nSco"


def test_less_room_is_a_limit() -> None:
    assert listen(speaking("abcdefgh"), limit=3)[1] == Generated("abc", 3, "limit")


def test_an_end_token_of_the_dialect_ends_too() -> None:
    _, generated = listen(speaking("ab|cd"), ends=frozenset({ord("|")}))
    assert generated == Generated("ab", 2, "end")


def test_an_unfinished_character_is_dropped() -> None:
    _, generated = listen(speaking("a½"), Sampling(max_tokens=2))
    assert generated.text == "a"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_end_it(temperature: float) -> None:
    backend = ScriptedBackend(lambda history: {65: float("nan"), 66: float("inf")})
    sampling = Sampling(temperature=temperature)
    assert listen(backend, sampling)[1] == Generated("", 0, "broken")


def test_cancelled_is_what_was_shown() -> None:
    backend = speaking("ab \ncdef")
    writer = Writer(Sampling(), backend.token_bytes, frozenset(), 9, stops=("\n\n",))
    for token in b"ab \n":
        row = np.zeros(259, dtype=np.float32)
        row[token] = 1
        assert writer.feed(row) is None
    assert writer.cancelled() == Generated("ab", 4, "cancelled")


def test_greedy_takes_the_most_probable_and_sampling_follows_the_probabilities() -> None:
    rng = np.random.default_rng(0)
    logits = np.log(np.array([0.6, 0.3, 0.1], dtype=np.float32))
    assert choose(logits, 0, rng) == 0
    draws = [choose(logits, 1.0, rng) for _ in range(4000)]
    # Three standard deviations of a share of 4000 draws are at most 0.024.
    np.testing.assert_allclose(np.bincount(draws) / 4000, [0.6, 0.3, 0.1], atol=0.025)
    cold = [choose(logits, 0.05, rng) for _ in range(200)]
    assert set(cold) == {0}


def test_the_seed_decides() -> None:
    def text(seed: int) -> str:
        backend = ScriptedBackend(lambda history: dict.fromkeys(range(97, 123), 1.0))
        return listen(backend, Sampling(20, 1.0, seed))[1].text

    assert text(1) == text(1)
    assert len({text(seed) for seed in range(5)}) == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": -1},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"seed": -1},
    ],
)
def test_impossible_settings(wrong: Mapping[str, float]) -> None:
    with pytest.raises(InputError):
        Sampling(**wrong)


@given(
    text=st.text(alphabet="ab \n½日😀#", max_size=24),
    stop=st.sampled_from(["\n\n", "ab#", "a", "##b", "½½"]),
    cuts=st.lists(st.integers(0, 80)),
)
@example(text="a\n", stop="\n\n", cuts=[1])
@example(text="a##b", stop="##b", cuts=[2, 3])
def test_text_does_not_depend_on_where_its_bytes_are_cut(
    text: str, stop: str, cuts: list[int]
) -> None:
    data = text.encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    buffer = PieceBuffer((stop,))
    pieces = []
    for start, end in pairwise(edges):
        pieces.append(buffer.feed(data[start:end]))
        if buffer.stopped:
            break
    pieces.append(buffer.finish())
    assert "".join(pieces) == buffer.shown == text.partition(stop)[0].strip()
    assert buffer.stopped == (stop in text)
