"""Scores of many texts, and plain completions."""

from __future__ import annotations

import pytest

from serving import Running

DOCUMENTS = ["wrong", "right", {"text": "right, too"}]


@pytest.mark.parametrize("path", ["/v1/score", "/score"])
def test_pairs_are_scored_as_vllm_does(server: Running, path: str) -> None:
    body = {"model": "some-reranker", "text_1": "Which digit?", "text_2": ["wrong", "right"]}
    answer = server.post(path, body).json
    assert answer["object"] == "list"
    assert [one["index"] for one in answer["data"]] == [0, 1]
    low, high = (one["score"] for one in answer["data"])
    assert 0 <= low < 0.3
    assert 0.8 < high <= 1
    assert answer["usage"]["total_tokens"] > 0


def test_as_many_questions_as_answers(server: Running) -> None:
    body = {"text_1": ["a?", "b?"], "text_2": ["right", "wrong"]}
    scores = [one["score"] for one in server.post("/v1/score", body).json["data"]]
    assert scores[0] > scores[1]
    assert server.post("/v1/score", {**body, "text_1": ["a?", "b?", "c?"]}).status == 400


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank"])
def test_documents_are_sorted_as_jina_does(server: Running, path: str) -> None:
    body = {"query": "Which digit?", "documents": DOCUMENTS, "top_n": 2}
    results = server.post(path, body).json["results"]
    assert [one["index"] for one in results] == [1, 2]
    assert results[1]["document"] == {"text": "right, too"}
    bare = server.post(path, {**body, "top_n": None, "return_documents": False}).json["results"]
    assert len(bare) == 3
    assert "document" not in bare[0]


def test_what_cannot_be_judged_comes_last(server: Running) -> None:
    body = {"query": "Which digit?", "documents": ["x" * 100_000, "wrong"]}
    results = server.post("/v1/rerank", body).json["results"]
    assert [one["relevance_score"] is None for one in results] == [False, True]


def test_a_prompt_is_completed(server: Running) -> None:
    answer = server.post("/v1/completions", {"prompt": "hello", "max_tokens": 7, "n": 2}).json
    assert answer["object"] == "text_completion"
    assert [choice["text"] for choice in answer["choices"]] == ["I judge", "I judge"]
    for refused in ({"stream": True}, {"echo": True}, {"suffix": "x"}, {"prompt": ["a", "b"]}):
        assert server.post("/v1/completions", {"prompt": "hello", **refused}).status == 400
