"""Answers of real endpoints, in all their shapes, and streams of them."""

from __future__ import annotations

from collections.abc import Iterable
from http.client import IncompleteRead

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server import completion, delta
from edgecritic import BackendUnavailableError
from edgecritic.remote.events import decoded, events
from edgecritic.remote.reply import read_piece, read_reply, read_usage
from edgecritic.verdict import Usage

WHERE = "https://example.org/v1/chat/completions"


def token(text: object, log_prob: object, *others: object) -> dict[str, object]:
    return {"token": text, "logprob": log_prob, "top_logprobs": list(others)}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Score: 7", "Score: 7"),
        (None, ""),
        ([{"type": "text", "text": "Score: "}, {"type": "text", "text": "7"}], "Score: 7"),
        ([{"type": "refusal", "refusal": "no"}], ""),
        (["Score: 7"], ""),
        (7, ""),
    ],
)
def test_content_comes_as_text_as_parts_or_not_at_all(content: object, text: str) -> None:
    assert read_reply(completion(content), WHERE).text == text
    assert read_piece(delta(content)) == text


def test_thoughts_are_not_the_answer() -> None:
    answer = completion("Score: 7")
    answer["choices"][0]["message"]["reasoning_content"] = "Score: 3, or rather 7"
    assert read_reply(answer, WHERE).text == "Score: 7"
    assert read_piece({"choices": [{"delta": {"reasoning_content": "hm"}}]}) == ""


@pytest.mark.parametrize(
    "log_probs",
    [
        None,
        {},
        {"content": None},
        {"content": []},
        {"content": "x"},
        {"content": [None]},
        {"content": [token("7", None)]},
        {"content": [token("7", "-0.1")]},
        {"content": [token("7", True)]},
        {"tokens": ["7"], "token_logprobs": [-0.1]},  # the form of OpenAI's older API
    ],
)
def test_log_probs_that_are_missing_or_broken_are_none(log_probs: object) -> None:
    assert read_reply(completion("7", logprobs=log_probs), WHERE).tokens == ()


def test_the_generated_token_is_one_of_the_listed() -> None:
    other = {"token": "8", "logprob": -2.0, "bytes": [56]}
    log_probs = {"content": [token("7", -0.1, other, {"token": "9"}, "x")]}
    (found,) = read_reply(completion("7", logprobs=log_probs), WHERE).tokens
    assert (found.text, found.log_probs) == ("7", {"7": -0.1, "8": -2.0})


def test_blanks_inside_tokens_are_blanks() -> None:
    log_probs = {"content": [token("\u2581first", 1e-9), token("\u0120tie", -9999.0)]}
    first, tie = read_reply(completion("", logprobs=log_probs), WHERE).tokens
    assert first.log_probs == {" first": 0.0}
    assert tie.log_probs == {" tie": -9999.0}


@pytest.mark.parametrize("usage", [None, {}, [], {"prompt_tokens": None}, {"prompt_tokens": -1}])
def test_usage_that_is_missing_is_zero(usage: object) -> None:
    assert read_usage({"usage": usage}) == Usage()
    assert read_reply(completion("7") | {"usage": usage}, WHERE).prompt_tokens is None


def test_infinite_numbers_are_no_numbers() -> None:
    assert decoded(b'{"a": -Infinity, "b": NaN}', WHERE) == {"a": None, "b": None}


def stream(*chunks: bytes) -> list[object]:
    return [event.get("n") for event in events(chunks, WHERE)]


@pytest.mark.parametrize(
    "chunks",
    [
        [b'data: {"n": 1}\n\ndata: {"n": 2}\n\ndata: [DONE]\n\n'],
        [b'data:{"n": 1}\r\n\r\ndata:{"n": 2}\r\n\r\ndata:[DONE]\r\n\r\n'],
        [
            b": ping\n\n",
            b'event: x\nid: 3\ndata: {"n": 1}\n\n\n',
            b'data: {"n": 2}\n\ndata: [DONE]',
        ],
        [b'data: {"n":\ndata: 1}\n\ndata: {"n": 2}\n\ndata: [DONE]\n\ndata: {"n": 3}\n\n'],
        [b'data: {"n": 1}\n\ndata: {"n": 2, "choices": [{"finish_reason": "stop"}]}\n\n'],
    ],
)
def test_streams_are_read_in_the_forms_that_are_sent(chunks: list[bytes]) -> None:
    assert stream(*chunks) == [1, 2]


@given(st.integers(1, 40))
def test_streams_may_be_cut_anywhere(size: int) -> None:
    content = 'data: {"n": "äöü"}\n\ndata: {"n": 2}\n\ndata: [DONE]\n\n'.encode()
    assert stream(*pieces(content, size)) == ["äöü", 2]


def pieces(content: bytes, size: int) -> Iterable[bytes]:
    return (content[i : i + size] for i in range(0, len(content), size))


@pytest.mark.parametrize("content", [b"", b'data: {"n": 1}\n\n', b'data: {"n": 1}\n\ndata: {"n'])
def test_a_stream_without_an_end_broke_off(content: bytes) -> None:
    with pytest.raises(IncompleteRead):
        stream(content)


def test_an_event_that_is_no_json_is_told() -> None:
    with pytest.raises(BackendUnavailableError, match="something else"):
        stream(b"data: <html>\n\n")
